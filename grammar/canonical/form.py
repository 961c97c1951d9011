"""The canonical form: one expression for all spellings of a program that the rules prove equal, and its key.

Every node is built anew from canonical operands: sums, products and functions by `normal.py`, reductions and abbreviations
by `reductions.py`, with the identities of `rewrite.py`. A tensor that is the same everywhere becomes a layer value, so that
the kind may come down, never up. A rewrite that would leave the finite numbers is not made. Everything is iterative over
the program; a `Table` remembers canonical forms between calls, within a bound, and belongs to its caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial, reduce

from emqlang.grammar.canonical import rules as rewrite
from emqlang.grammar.canonical.normal import make, product, total
from emqlang.grammar.canonical.reductions import lift
from emqlang.grammar.expr import Expr, apply, elaborate, literal
from emqlang.grammar.ops import OPS, Class
from emqlang.grammar.signs import ZERO


@dataclass(frozen=True, slots=True)
class Step:
    """One rewriting: the rule or normal form that made `after` of `before`."""

    rule: str
    before: Expr
    after: Expr


@dataclass(slots=True)
class Table:
    """Canonical forms already known, by digest; forgotten all at once when there are more than `limit`."""

    limit: int = 200_000
    forms: dict[bytes, Expr] = field(default_factory=dict)


def key(program: Expr, table: Table | None = None) -> bytes:
    """A program's identity: the digest of the canonical form of what it means (elaborated). 16 bytes."""
    return canonical(elaborate(program), table).digest


def canonical(expr: Expr, table: Table | None = None, trace: list[Step] | None = None) -> Expr:
    """The canonical form; `canonical(canonical(x)) == canonical(x)`. `trace` receives every step that changed something."""
    table = Table() if table is None else table
    if len(table.forms) > table.limit:
        table.forms.clear()
    forms = table.forms
    stack = [expr]
    while stack:
        node = stack[-1]
        if node.digest in forms:
            stack.pop()
            continue
        operands = _operands(node) if node.op in _CHAINS else node.args
        waiting = [operand for operand in operands if operand.args and operand.digest not in forms]
        if waiting:
            stack += waiting
            continue
        forms[node.digest] = form = _form(
            node, [forms[arg.digest] if arg.args else arg for arg in operands]
        )
        if trace is not None and node.args:
            _record(node, form, forms, trace)
        stack.pop()
    return forms[expr.digest]


def multiply(factors: Sequence[Expr]) -> Expr:
    """The canonical product of canonical expressions, of which there is at least one."""
    try:
        form = product(factors)
    except ArithmeticError:  # a literal would overflow or vanish
        form = reduce(partial(apply, "mul"), factors)
    return literal(0) if form.sign == ZERO else form


def _operands(node: Expr) -> tuple[Expr, ...]:
    """The members of a chain of additions, or of multiplications, which meet at once."""
    ops, members = _CHAINS[node.op], []
    while node.op in ops:
        node, member = node.args
        members.append(member)
    return (node, *reversed(members))


_NAMES = {
    "add": "like terms",
    "sub": "like terms",
    "mul": "powers of one base",
    "div": "powers of one base",
}
_CHAINS: dict[str, tuple[str, ...]] = {
    "add": ("add", "sub"),
    "sub": ("add", "sub"),
    "mul": ("mul", "div"),
    "div": ("mul", "div"),
}


def _form(node: Expr, operands: list[Expr]) -> Expr:
    """The canonical form of a node, given those of its operands."""
    if not node.args:
        return node
    try:
        if node.op in _CHAINS:
            return _chain(node, operands)
        form = make(node.op, *operands, exponent=_exponent(node), was=node.args[0].kind)
    except ArithmeticError:  # a literal would overflow or vanish
        return _as_written(node, operands)
    return literal(0) if form.sign == ZERO else form


def _exponent(node: Expr) -> float | None:
    return node.value if isinstance(node.value, float) and node.op == "pow" else None


def _as_written(node: Expr, operands: list[Expr]) -> Expr:
    """The node's own op, or chain of ops, on canonical operands."""
    if node.op not in _CHAINS:
        lifted = [
            lift(form, arg.kind) if OPS[node.op].cls is not Class.ELEMENTWISE else form
            for form, arg in zip(operands, node.args, strict=True)
        ]
        return apply(node.op, *lifted, exponent=_exponent(node))
    ops = []
    for _ in operands[1:]:
        ops.append(node.op)
        node = node.args[0]
    form = operands[0]
    for op, operand in zip(reversed(ops), operands[1:], strict=True):
        form = apply(op, form, operand)
    return form


def _record(node: Expr, form: Expr, forms: dict[bytes, Expr], trace: list[Step]) -> None:
    """A step, if the node became something else than its op on canonical operands."""
    operands = [
        forms[arg.digest] if arg.args else arg
        for arg in (_operands(node) if node.op in _CHAINS else node.args)
    ]
    before = _as_written(node, operands)
    if before != form:
        match = rewrite.find(node.op, operands[0]) if len(operands) == 1 else None
        trace.append(
            Step(
                str(match[0].rule) if match else _NAMES.get(node.op, f"normal form of {node.op}"),
                before,
                form,
            )
        )


def _chain(node: Expr, operands: list[Expr]) -> Expr:
    """A chain of additions or multiplications; what is subtracted, or divided by, counts with the sign turned round."""
    add = node.op in ("add", "sub")
    signs = [1.0] * len(operands)
    for place in range(len(operands) - 1, 0, -1):
        if node.op in ("sub", "div"):
            signs[place] = -1.0
        node = node.args[0]
    return total(operands, signs=signs) if add else product(operands, signs)
