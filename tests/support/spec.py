"""What a plan may hold: RULES of planning form, node by node, and the order of its levels.

`conftest.py` has every plan that the tests make verified, after the passes of `compiler/form.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite

from emqlang.compiler.form import COUNT, REDUCTIONS, is_reduction, scalars
from emqlang.compiler.kernels import KERNELS
from emqlang.compiler.plan import Plan
from emqlang.compiler.structured import STRUCTURED
from emqlang.grammar.expr import Expr, literal, postorder, statistic
from emqlang.grammar.inputs import Kind
from emqlang.grammar.kinds import kind_of
from emqlang.grammar.ops import INPUT, LITERAL, OPS

LEAVES = {INPUT, LITERAL, COUNT}


def reductions(plan: Plan) -> list[Expr]:
    """All of them, level by level."""
    return [node for level in plan.levels for node in level if is_reduction(node)]


def verify(plan: Plan) -> None:
    """Asserts that programs are in planning form, and that values come before what reads them."""
    for node in postorder(*plan.programs):
        for rule, holds in RULES.items():
            assert holds(node), f"{rule}: {node!r}"
    assert all(program.kind is Kind.LAYER for program in plan.programs), "programs are layer values"
    _verify_levels(plan)


def _verify_levels(plan: Plan) -> None:
    """Each layer value once, after what it reads, and in the lowest level that allows."""
    level_of: dict[Expr, int] = {}
    for level, nodes in enumerate(plan.levels):
        reductions = [node for node in nodes if is_reduction(node)]
        assert list(nodes[: len(reductions)]) == reductions, "reductions come first in a level"
        for node in nodes:
            assert node.kind is Kind.LAYER and node not in level_of, f"once in the levels: {node!r}"
            read = scalars(node) if is_reduction(node) else node.args
            assert all(part in level_of for part in read), f"operands come before {node!r}"
            below = max((level_of[part] for part in read), default=0)
            assert level == below + is_reduction(node), f"as low as its operands allow: {node!r}"
            level_of[node] = level
    assert level_of.keys() == {n for n in postorder(*plan.programs) if n.kind is Kind.LAYER}


def _number(node: Expr) -> float:
    assert isinstance(node.value, float)
    return node.value


def _kind(node: Expr) -> Kind:
    if node.op in LEAVES:
        return statistic(str(node.value)).kind if node.op == INPUT else Kind.LAYER
    return kind_of(node.op, *(operand.kind for operand in node.args))


def _is_scaled(x: Expr) -> bool:
    """A tensor that a layer value, or -1, has been multiplied with."""
    return x.op == "neg" or (x.op == "mul" and x.args[1].kind is Kind.LAYER)


def _has_one_scale(node: Expr) -> bool:
    """x*s*y is (x*y)*s. The product x ** n * sqrt(x), which is x ** (n + 1/2), takes x as it is."""
    x, y = node.args
    if y.kind is Kind.LAYER:
        return x.kind is not Kind.LAYER and not _is_scaled(x)
    roots = [each.args[0] for each in node.args if each.op == "sqrt"]
    powers = [each.args[0] if each.op == "pow" else each for each in node.args]
    return any(root in powers for root in roots) or not (_is_scaled(x) or _is_scaled(y))


def _is_shortest_power(exponent: float) -> bool:
    """No sqrt and product says the same in fewer steps."""
    return exponent not in (0.25, 0.5, 1) and not (exponent % 1 == 0.5 and exponent < 16)


RULES: dict[str, Callable[[Expr], bool]] = {
    "the op is one that engines have": lambda node: (
        node.op in {*LEAVES, *KERNELS, *STRUCTURED, *REDUCTIONS}
    ),
    "the kind follows from the operands'": lambda node: node.kind is _kind(node),
    "a reduction is one of REDUCTIONS, or slogdet": lambda node: (
        not is_reduction(node) or node.op in {*REDUCTIONS, "slogdet"}
    ),
    "a literal is finite": lambda node: node.op != LITERAL or isfinite(_number(node)),
    "an exponent is finite, and not negative": lambda node: (
        node.op != "pow" or (isfinite(_number(node)) and _number(node) >= 0)
    ),
    "a power is written in the fewest steps": lambda node: (
        node.op != "pow" or _is_shortest_power(_number(node))
    ),
    "a tensor meets one layer value once": lambda node: (
        node.op != "mul" or node.kind is Kind.LAYER or _has_one_scale(node)
    ),
    "a tensor is not multiplied by one": lambda node: (
        node.op != "mul" or node.kind is Kind.LAYER or literal(1) not in node.args
    ),
    "a negative is subtracted": lambda node: (
        node.op != "add" or not any(x.op == "neg" for x in node.args)
    ),
    "operands of one kind are in order": lambda node: (
        node.op not in ("add", "mul")
        or node.args[0].kind is not node.args[1].kind
        or list(node.args) == sorted(node.args)
    ),
    "leaves are leaves": lambda node: (node.op in OPS) == bool(node.args),
}
