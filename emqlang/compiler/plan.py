"""A plan for a whole batch of programs: common parts once, reductions by depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from emqlang.compiler.form import is_reduction, planning_form
from emqlang.grammar.expr import Expr, postorder
from emqlang.grammar.inputs import Kind
from emqlang.grammar.kinds import describe
from emqlang.grammar.levels import CONFIGURATION


@dataclass(frozen=True, slots=True)
class Plan:
    """What to compute, whatever the statistics are.

    programs  in planning form, one value per layer each
    levels    layer values to compute, by how many reductions lie below each other. Within a level
              reductions come first and the rest is in order of use. A level takes at most one pass
              over memory for each kind and dtype
    """

    programs: tuple[Expr, ...]
    levels: tuple[tuple[Expr, ...], ...]


def compile(programs: Sequence[Expr]) -> Plan:
    """Plans canonical programs (`Program.canonical`) together.

    Raises ValueError for one with more than a value per layer.
    """
    for program in programs:
        if program.kind is not Kind.LAYER or program.level == CONFIGURATION:
            what = describe(program.kind, program.level)
            message = f"a program has one value per layer, not {what} values: elaborate it first"
            raise ValueError(message)
    forms = planning_form(programs)
    return Plan(forms, levels_of(forms))


def levels_of(programs: Sequence[Expr]) -> tuple[tuple[Expr, ...], ...]:
    """The layer values below programs in planning form, by depth."""
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
