"""Tile programs: few registers, and only what may be is overwritten."""

from __future__ import annotations

from fakes import MENU, compile
from spec import reductions

from emqlang.compiler.axes import Axes
from emqlang.compiler.lower import IN_PLACE, POOL, Step, Value, lower
from emqlang.grammar.expr import Expr
from emqlang.grammar.inputs import Kind


def test_tile_programs_use_few_registers_and_overwrite_only_what_may_be(
    population: list[Expr],
) -> None:
    planned = compile(population)
    axes = Axes(MENU)
    for kind in (Kind.WEIGHT, Kind.ACTIVATION):
        nodes = [node for node in reductions(planned) if node.args[0].kind is kind]
        code = lower([Value(node, row) for node in nodes for row in axes.rows(node.axes)], axes)
        assert code.registers <= POOL
        scratch = len(code.inputs) + len(code.scalars)
        for step in code.code:
            if isinstance(step, Step):
                assert step.target > scratch
                assert step.node.op in IN_PLACE or step.target not in step.operands
