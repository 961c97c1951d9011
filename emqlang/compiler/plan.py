"""A plan for a whole batch of programs: common parts once, reductions by depth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emqlang.compiler.form import TOTAL, PlanningForm
from emqlang.grammar.expr import Expr, postorder, rebuild
from emqlang.grammar.inputs import Kind
from emqlang.grammar.ops import INPUT, OPS, Class
from emqlang.grammar.signs import ANY
from emqlang.grammar.text.printer import show

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from emqlang.compiler.cache import Cache
    from emqlang.compiler.statistics import Statistics


@dataclass(frozen=True, slots=True)
class Plan:
    """What to compute, whatever the statistics are.

    programs  in planning form, one value a layer each
    levels    layer values to compute, by how many reductions lie below each other; within a level reductions come
              first and the rest is in order of use. One level takes at most one pass over memory for each kind and dtype.
    """

    programs: tuple[Expr, ...]
    levels: tuple[tuple[Expr, ...], ...]

    def run(
        self, statistics: Statistics, cache: Cache | None = None, threads: int | None = None
    ) -> NDArray[np.float64]:
        """Values of all programs: (programs, choices, layers), float64. `threads`, by default torch's, changes no bit."""
        from emqlang.compiler.run import run

        return run(self, statistics, cache, threads)


def compile(programs: Sequence[Expr]) -> Plan:
    """Plans canonical programs (`Program.canonical`) together. Raises ValueError for one with more than a value per layer."""
    form = PlanningForm()
    for program in programs:
        if program.kind is not Kind.LAYER:
            raise ValueError(
                f"a program has one value a layer, this is a {program.kind} value: elaborate it first"
            )
    planned = tuple(form(program) for program in programs)
    return Plan(planned, _levels(planned))


def is_reduction(node: Expr) -> bool:
    """Whether the node turns a tensor into a layer value: where a pass over memory ends."""
    return node.kind is Kind.LAYER and any(arg.kind is not Kind.LAYER for arg in node.args)


def scalars(reduction: Expr) -> tuple[Expr, ...]:
    """Layer values that the chain of a reduction reads."""
    return tuple(node for node in chain(reduction) if node.kind is Kind.LAYER)


def chain(reduction: Expr) -> Iterator[Expr]:
    """The tensors between memory and a reduction, operands first, and the layer values that they meet."""
    seen: set[Expr] = set()
    stack = [(arg, False) for arg in reversed(reduction.args)]
    while stack:
        node, ready = stack.pop()
        if node in seen:
            continue
        if ready or node.kind is Kind.LAYER or not node.args:
            seen.add(node)
            yield node
        else:
            stack.append((node, True))
            stack += [(arg, False) for arg in reversed(node.args)]


def is_structured(reduction: Expr) -> bool:
    """Whether a part of the chain needs whole layers rather than tiles."""
    return any(
        OPS[node.op].cls is Class.STRUCTURED
        for node in (reduction, *chain(reduction))
        if node.op in OPS
    )


def _levels(programs: Sequence[Expr]) -> tuple[tuple[Expr, ...], ...]:
    depths: dict[Expr, int] = {}
    levels: list[tuple[list[Expr], list[Expr]]] = []
    for node in postorder(*programs):
        depth = max((depths[arg] for arg in node.args), default=0)
        depths[node] = depth + is_reduction(node)
        if node.kind is Kind.LAYER:
            while len(levels) <= depths[node]:
                levels.append(([], []))
            levels[depths[node]][0 if is_reduction(node) else 1].append(node)
    return tuple((*reductions, *rest) for reductions, rest in levels)


def describe(plan: Plan) -> str:
    """The plan in words, for `show --stage plan`: passes over memory, and what is computed from their results."""
    names = {
        leaf: _stand_in(f"total({leaf.value})")
        for leaf in postorder(*plan.programs)
        if leaf.op == TOTAL
    }
    totals, lines = len(names), list[str]()
    for level, nodes in enumerate(plan.levels):
        for node in sorted((n for n in nodes if n.op in OPS), key=lambda n: _title(level, n)):
            title = _title(level, node)
            if title not in lines:
                lines.append(title)
            text = show(_with_names(node, names))
            names[node] = _stand_in(f"%{len(names) - totals + 1}")
            lines.append(f"  {names[node].value} = {text}")
    results = [f"  {show(names.get(program, program))}" for program in plan.programs]
    return "\n".join([*lines, "results", *results])


def _title(level: int, node: Expr) -> str:
    if not is_reduction(node):
        return f"then {level}, one number a layer"
    return f"pass {level} over " + (
        "whole layers" if is_structured(node) else f"tiles of {node.args[0].kind} values"
    )


def _stand_in(name: str) -> Expr:
    """A leaf that prints as a name."""
    return Expr(INPUT, (), name, name.encode(), Kind.LAYER, ANY, 0)


def _with_names(node: Expr, names: dict[Expr, Expr]) -> Expr:
    """The node with what has a name already replaced by it."""
    done: dict[Expr, Expr] = {}
    for part in postorder(node):
        done[part] = names.get(part) or rebuild(part, tuple(done[arg] for arg in part.args))
    return done[node]
