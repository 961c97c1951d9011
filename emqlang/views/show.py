"""What becomes of a program, stage by stage, as lines of a tree: (depth, label, remark)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from emqlang.compiler.form import COUNT, is_reduction, is_structured
from emqlang.compiler.joint import compile_joint
from emqlang.compiler.plan import Plan, compile
from emqlang.grammar import signs
from emqlang.grammar.expr import Expr, fold, postorder, rebuild
from emqlang.grammar.inputs import Kind
from emqlang.grammar.kinds import describe as describe_kind
from emqlang.grammar.ops import INPUT, LITERAL, OPS
from emqlang.grammar.program import Program
from emqlang.grammar.signs import ANY
from emqlang.grammar.text.printer import number, show

Line = tuple[int, str, str]
T = TypeVar("T")

_CHOICE = {0: "", 1: "each W", 2: "each A", 3: "each choice"}


def tree(program: Program) -> Iterator[Line]:
    """The text as it was understood, each part with the characters it covers."""
    for depth, node in _preorder(program.tree, lambda node: node.operands):
        yield depth, node.text, f"{node.form}, characters {node.span.start + 1}-{node.span.end}"


def kinds(program: Program) -> Iterator[Line]:
    """The elaborated program: values of each part, their sign, the choice that they depend on."""
    for depth, node in _preorder(program.elaborated, lambda node: node.args):
        what = describe_kind(node.kind, node.level)
        facts = what, signs.describe(node.sign), _CHOICE[node.axes]
        yield depth, _label(node), ", ".join(filter(None, facts))
    if program.added:
        yield 0, f"added: {', '.join(program.added)}", ""


def canonical(program: Program) -> Iterator[Line]:
    """The canonical program and its key."""
    form = program.canonical
    yield 0, show(form), ""
    yield 0, f"key {form.digest.hex()}", ""


def graph(program: Program) -> Iterator[Line]:
    """The canonical program as a graph: each node once, with its operands; and its hash."""
    from emqlang.grammar.proof.graph import label, wl_hash

    form = program.canonical
    place: dict[Expr, int] = {}
    for row, node in enumerate(postorder(form), 1):
        place[node] = row
        takes = ", ".join(str(place[operand]) for operand in node.args)
        yield 0, f"{row:>3}  {label(node)}", takes and f"takes {takes}"
    yield 0, f"hash {wl_hash(form)}", ""


def plan(program: Program) -> Iterator[Line]:
    """The passes over memory that evaluate it, and what is computed from their results."""
    if program.separable:
        separates = "it separates: the score is a sum over layers"
        lines = [*describe(compile([program.canonical])), separates]
    else:
        lines = joint(program)
    for line in lines:
        yield 0, line, ""


def joint(program: Program) -> list[str]:
    """The lines of the plan of a program that does not separate."""
    plan = compile_joint([program.canonical])
    names = {total: _stand_in(f"@{i}", total) for i, total in enumerate(plan.totals, 1)}
    layers = describe(plan.layers) if any(part.op in OPS for part in plan.layers.programs) else []
    lines = [*layers, "totals over layers, for every group and choice"]
    for total, name in names.items():
        each = "one for each image" if total.kind is Kind.IMAGE else "one number"
        lines.append(f"  {name.value} = {show(total)}, {each}")
    lines += ["for each configuration: it does not separate, so that there is no score table"]
    return [*lines, *(f"  {show(_with_names(form, names))}" for form in plan.programs)]


def describe(plan: Plan) -> list[str]:
    """The lines of a plan in words."""
    names = {
        leaf: _stand_in(f"count({leaf.value})", leaf)
        for leaf in postorder(*plan.programs)
        if leaf.op == COUNT
    }
    totals, lines = len(names), list[str]()
    for level, nodes in enumerate(plan.levels):
        for node in sorted((n for n in nodes if n.op in OPS), key=lambda n: _title(level, n)):
            title = _title(level, node)
            if title not in lines:
                lines.append(title)
            text = show(_with_names(node, names))
            names[node] = _stand_in(f"%{len(names) - totals + 1}", node)
            lines.append(f"  {names[node].value} = {text}")
    results = [f"  {show(names.get(program, program))}" for program in plan.programs]
    return [*lines, "results", *results]


def _title(level: int, node: Expr) -> str:
    if not is_reduction(node):
        return f"then {level}, one number per layer"
    return f"pass {level} over " + (
        "whole layers" if is_structured(node) else f"tiles of {node.args[0].kind} values"
    )


def _stand_in(name: str, like: Expr) -> Expr:
    """A leaf that prints as a name, in the place of another node."""
    return Expr(INPUT, (), name, name.encode(), like.kind, ANY, 0, level=like.level)


def _with_names(node: Expr, names: dict[Expr, Expr]) -> Expr:
    """The node with what has a name already replaced by it."""
    return fold(node, lambda part, args: names.get(part) or rebuild(part, args))


def _label(node: Expr) -> str:
    if node.op in (INPUT, LITERAL):
        return show(node)
    infix = OPS[node.op].infix or ("-" if node.op == "neg" else node.op)
    return f"{infix} {number(node.value)}" if isinstance(node.value, float) else infix


def _preorder(root: T, operands: Callable[[T], tuple[T, ...]]) -> Iterator[tuple[int, T]]:
    stack = [(0, root)]
    while stack:
        depth, node = stack.pop()
        yield depth, node
        stack += [(depth + 1, operand) for operand in reversed(operands(node))]


STAGES: Final = {
    "tree": tree,
    "kinds": kinds,
    "graph": graph,
    "canonical": canonical,
    "plan": plan,
}
