"""The canonical form: one expression for all spellings of a program that the rules prove equal.

Its digest is the program's key. Every node is built anew from canonical operands: products, powers
and sums by `normal.py`, functions of them by `functions.py`, reductions and abbreviations by
`reductions.py`, all else by the identities of `rules.py`. A tensor that is the same everywhere
becomes a layer value, so that the kind may come down, never up. A rewrite that would leave the
finite numbers is not made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial, reduce

from emqlang.grammar import levels
from emqlang.grammar.canonical import functions, normal, reductions, rules
from emqlang.grammar.canonical.normal import make, product, terms_of, total
from emqlang.grammar.canonical.reductions import lift
from emqlang.grammar.diagnostics import error
from emqlang.grammar.expr import Expr, apply, elaborate, literal
from emqlang.grammar.inputs import Kind
from emqlang.grammar.ops import OPS, Class
from emqlang.grammar.signs import ZERO

normal.FUNCTIONS.update(functions.FORMS)
normal.LOWERED.update(reductions.FORMS)
normal.JOINED["matmul"] = reductions.matmul

_SUMS, _PRODUCTS = ("add", "sub"), ("mul", "div")
_CHAINS = {op: chain for chain in (_SUMS, _PRODUCTS) for op in chain}
_MADE = Expr("", (), None, b"", Kind.LAYER, ZERO, 0)  # stands in a stack where a form was made


@dataclass(frozen=True, slots=True)
class Step:
    """A rewriting: the rule or normal form that made `after` of `before`."""

    rule: str
    before: Expr
    after: Expr


@dataclass(slots=True)
class Table:
    """A table remembers canonical forms between calls, by digest; it belongs to its caller.

    It forgets all of them at once when it holds more than `limit`.
    """

    limit: int = 200_000
    forms: dict[bytes, Expr] = field(default_factory=dict)


def key(program: Expr, table: Table | None = None) -> bytes:
    """A program's identity, 16 bytes: the digest of the elaborated program's canonical form.

    Raises E403 for what is no expression, such as a text.
    """
    if not isinstance(program, Expr):
        help = "give the expression of a program: emq.key(emq.parse(text).expr)"
        raise error("E403", f"an expression is wanted, not {type(program).__name__}", help)
    return whole(elaborate(program), table).digest


def whole(program: Expr, table: Table | None = None, trace: list[Step] | None = None) -> Expr:
    """The canonical form of an elaborated program, of which the outermost `total` is not written.

    A program of the configuration that is a sum over layers and nothing else is the program that
    is summed: `-total(x)` is `-x`. Only of one that does not separate is the form of the
    configuration, so that its level tells the two apart.
    """
    if program.op == "total" and program.kind is Kind.LAYER:
        program = program.args[0]
    form = canonical(program, table, trace)
    if program.level != levels.CONFIGURATION:
        return form
    terms = terms_of(form)
    if form.level == levels.CONSTANT and form != literal(0):  # not a number for each layer
        one = apply("total", literal(1))
        return apply("mul", apply("mul", one, apply("inv", one)), form)
    if not all(term is None or _is_plain_total(term) for _, term in terms):
        return form
    try:
        parts = [
            product([term.args[0], literal(coefficient)])
            for coefficient, term in terms
            if term is not None
        ]
        return canonical(total(parts), table) if len(parts) == len(terms) else form
    except ArithmeticError:  # a literal would overflow or vanish
        return form


def _is_plain_total(term: Expr) -> bool:
    return term.op == "total" and term.kind is Kind.LAYER


def canonical(expr: Expr, table: Table | None = None, trace: list[Step] | None = None) -> Expr:
    """The canonical form, of which the canonical form is itself.

    What a rewriting makes is rewritten in turn, until nothing changes. That ends: only the first
    expands abbreviations; a later one takes away an op or a statistic for what it adds. Should
    literals lead round in a circle, its least member stands for all of it.

    table  forms that are known already, and will be
    trace  receives every step that changed something
    """
    table = Table() if table is None else table
    if len(table.forms) > table.limit:
        table.forms.clear()
    seen = [expr]
    while (form := _rewritten(seen[-1], table.forms, trace)) != seen[-1]:
        if form in seen:
            return min(seen[seen.index(form) :])
        seen.append(form)
    return form


def _rewritten(expr: Expr, forms: dict[bytes, Expr], trace: list[Step] | None) -> Expr:
    """One rewriting, bottom up, of what is not yet in `forms`.

    A form that is its op on the operands it was made of is its own form, if theirs are: where that
    is not known of one, it is found out at once, lest all that is above it be rewritten twice.
    """
    stack = [expr]
    made: list[tuple[Expr, list[Expr]]] = []  # forms, as high as their place in the stack
    while stack:  # not `walk`, which is slower: a search spends much time here
        node = stack.pop()
        if node is _MADE:
            form, ready = made.pop()
            if not _unknown(ready, forms):
                forms[form.digest] = form
            continue
        if node.digest in forms:
            continue
        operands = _members(node) if node.op in _CHAINS else node.args
        waiting = [operand for operand in operands if operand.args and operand.digest not in forms]
        if waiting:
            stack.append(node)
            stack += waiting
            continue
        ready = [forms.get(operand.digest, operand) for operand in operands]  # leaves stay
        forms[node.digest] = form = _form(node, ready)
        if form.op == node.op and form.value == node.value and _is_of(form, ready):
            unknown = _unknown(ready, forms)
            if not unknown:
                forms[form.digest] = form
            elif trace is None and all(x.digest not in forms for x in unknown):
                made.append((form, ready))
                stack.append(_MADE)
                stack += unknown
        if trace is not None:
            trace += _steps(node, ready, form)
    return forms[expr.digest]


def _is_of(form: Expr, ready: list[Expr]) -> bool:
    """Whether a form is its op on these operands, of a chain in any order."""
    parts = [x.digest for x in (_members(form) if form.op in _CHAINS else form.args)]
    given = [x.digest for x in ready]
    return parts == given or (form.op in _CHAINS and sorted(parts) == sorted(given))


def _unknown(ready: list[Expr], forms: dict[bytes, Expr]) -> list[Expr]:
    """Those that are not known to be their own forms."""
    return [x for x in ready if x.args and forms.get(x.digest, _MADE).digest != x.digest]


def multiply(factors: Sequence[Expr]) -> Expr:
    """The canonical product of canonical expressions, of which there is at least one."""
    try:
        return product(factors)
    except ArithmeticError:  # a literal would overflow or vanish
        return reduce(partial(apply, "mul"), factors)


def _form(node: Expr, operands: list[Expr]) -> Expr:
    """The canonical form of a node, given those of its operands."""
    if not node.args:
        return node
    try:
        if node.op in _CHAINS:
            signs = _signs(node)
            return total(operands, signs=signs) if node.op in _SUMS else product(operands, signs)
        form = make(node.op, *operands, exponent=node.exponent, was=node.args[0])
    except ArithmeticError:  # a literal would overflow or vanish
        return _kept_apart(node, operands)
    return literal(0) if form.sign == ZERO else form


def _kept_apart(node: Expr, operands: list[Expr]) -> Expr:
    """As written, without factors of 1: a reduction would add another in every rewriting."""
    if node.op in _PRODUCTS:
        pairs = zip(("mul", *_links(node)), operands, strict=True)
        kept = [(op, operand) for op, operand in pairs if (op, operand) != ("mul", literal(1))]
        if kept and kept[0][0] == "mul":
            (_, first), *rest = kept
            return reduce(lambda form, pair: apply(pair[0], form, pair[1]), rest, first)
    return _as_written(node, operands)


def _members(node: Expr) -> tuple[Expr, ...]:
    """The members of a chain of additions, or of multiplications, which meet at once."""
    chain, members = _CHAINS[node.op], list[Expr]()
    while node.op in chain:
        node, member = node.args
        members.append(member)
    return (node, *reversed(members))


def _signs(node: Expr) -> list[float]:
    """Of the members of a chain: -1 for what is subtracted, or divided by. Empty if none is."""
    chain, signs, some = _CHAINS[node.op], list[float](), False
    while node.op in chain:
        if node.op in ("sub", "div"):
            signs.append(-1.0)
            some = True
        else:
            signs.append(1.0)
        node = node.args[0]
    signs.append(1.0)
    return signs[::-1] if some else []


def _links(node: Expr) -> list[str]:
    """The ops between the members of a chain."""
    chain, ops = _CHAINS[node.op], list[str]()
    while node.op in chain:
        ops.append(node.op)
        node = node.args[0]
    return ops[::-1]


def _as_written(node: Expr, operands: list[Expr]) -> Expr:
    """The node's own op, or chain of ops, on canonical operands."""
    if node.op in _CHAINS:
        form, *rest = operands
        for op, operand in zip(_links(node), rest, strict=True):
            form = apply(op, form, operand)
        return form
    if OPS[node.op].cls is not Class.ELEMENTWISE:
        operands = [lift(form, arg) for form, arg in zip(operands, node.args, strict=True)]
    return apply(node.op, *operands, exponent=node.exponent)


def _steps(node: Expr, operands: list[Expr], form: Expr) -> list[Step]:
    """A step, if the node became something else than its op on canonical operands."""
    before = _as_written(node, operands) if node.args else node
    if before == form:
        return []
    match = rules.find(node.op, operands[0]) if len(operands) == 1 else None
    return [Step(str(match[0].rule) if match else _NAMES[node.op], before, form)]


_NAMES = {
    **{op: f"normal form of {op}" for op in OPS},
    **dict.fromkeys(_SUMS, "like terms"),
    **dict.fromkeys(_PRODUCTS, "powers of one base"),
}
