"""A plan over statistics: level by level, reductions (or their cached values), then arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from emqlang.compiler.axes import Axes
from emqlang.compiler.cache import Cache, Key
from emqlang.compiler.cpu import CpuEngine
from emqlang.compiler.form import COUNT, is_reduction, is_structured, scalars
from emqlang.compiler.kernels import kernel, wide
from emqlang.compiler.lower import Value
from emqlang.compiler.plan import Plan
from emqlang.compiler.statistics import Statistics, on_host
from emqlang.compiler.structured import LayerEngine
from emqlang.grammar.expr import Expr
from emqlang.grammar.inputs import Kind
from emqlang.grammar.ops import INPUT, LITERAL

Array = NDArray[np.float64]


class Engine(Protocol):
    """Where reductions are computed. Its name is part of the cache's key: its bits are its own."""

    @property
    def name(self) -> str: ...
    def reduce(
        self, values: Sequence[Value], scalar: Callable[[Value], Array]
    ) -> dict[Value, Array]: ...


def run(
    plan: Plan,
    statistics: Statistics,
    cache: Cache | None = None,
    threads: int | None = None,
    engine: Engine | None = None,
) -> Array:
    """Values of a plan's programs: (programs, choices, layers), float64.

    `threads`, by default torch's, changes no bit. The engine is that of the statistics' device.
    """
    axes = Axes(statistics.choices)
    if engine is None:
        engine = _engine(statistics, axes, threads)
    whole_layers = LayerEngine(statistics, axes, threads)
    return _Run(plan, statistics, axes, engine, whole_layers, cache).programs()


def _engine(statistics: Statistics, axes: Axes, threads: int | None) -> Engine:
    if statistics.device.type == "cpu":
        return CpuEngine(statistics, axes, threads)
    from emqlang.compiler.gpu import GpuEngine  # torch takes a second

    return GpuEngine(statistics, axes)


@dataclass(frozen=True)
class _Run:
    """One plan over one network's statistics, and the layer values computed so far."""

    plan: Plan
    statistics: Statistics
    axes: Axes
    engine: Engine
    whole_layers: LayerEngine
    cache: Cache | None
    values: dict[Value, Array] = field(default_factory=dict)

    def programs(self) -> Array:
        needed = self._needed()
        for level in self.plan.levels:
            values = [Value(node, row) for node in level for row in sorted(needed.get(node, ()))]
            missing = [value for value in values if value not in self.values]
            self._reduce([value for value in missing if is_reduction(value.node)])
            for value in missing:
                if not is_reduction(value.node):
                    self.values[value] = self._layer_value(value)
        shape = len(self.plan.programs), len(self.statistics.choices), len(self.statistics.layers)
        return np.array([self._choices(program) for program in self.plan.programs]).reshape(shape)

    def _choices(self, program: Expr) -> list[Array]:
        return [self.values[Value(program, row)] for row in self.axes.of_choices(program.axes)]

    def _needed(self) -> dict[Expr, set[int]]:
        """The rows of every layer value that is read; below a reduction in the cache none is."""
        needed: dict[Expr, set[int]] = {
            program: set(self.axes.rows(program.axes)) for program in self.plan.programs
        }
        for level in reversed(self.plan.levels):
            for node in reversed(level):
                rows = needed.get(node, set())
                operands: Sequence[Expr] = node.args
                if rows and is_reduction(node):
                    rows = {row for row in rows if not self._recall(Value(node, row))}
                    operands = scalars(node)
                for part in operands if rows else ():
                    needed.setdefault(part, set()).update(
                        self.axes.project(node.axes, row, part.axes) for row in rows
                    )
        return needed

    def _key(self, value: Value) -> Key:
        bits = self.axes.bits[value.node.axes][value.row]
        return Key(value.node.digest, self.statistics.fingerprint, self.engine.name, bits)

    def _recall(self, value: Value) -> bool:
        known = self.cache.get(self._key(value)) if self.cache is not None else None
        if known is not None:
            self.values[value] = known
        return known is not None

    def _reduce(self, missing: Sequence[Value]) -> None:
        """Computes and keeps them. What is not finite becomes NaN, which 1 / x cannot hide."""
        whole = {value: is_structured(value.node) for value in missing}
        reduced = self.whole_layers.reduce(
            [value for value in missing if whole[value]], self.values.__getitem__
        )
        reduced |= self.engine.reduce(
            [value for value in missing if not whole[value]], self.values.__getitem__
        )
        for numbers in reduced.values():
            numbers[~np.isfinite(numbers)] = np.nan
        self.values.update(reduced)
        if self.cache is not None:
            for value, numbers in reduced.items():
                self.cache.put(self._key(value), numbers)

    def _layer_value(self, value: Value) -> Array:
        """A literal, a statistic, a count, or layer arithmetic: (layers,), float64."""
        node, row = value
        layers = len(self.statistics.layers)
        if node.op == LITERAL:
            return np.full(layers, node.number)
        if node.op == INPUT:
            numbers: Array = on_host(self.statistics.array(str(node.value)))
            return numbers[row] if node.axes else numbers
        if node.op == COUNT:
            return self._counts(Kind(str(node.value)))
        rows = [self.axes.project(node.axes, row, arg.axes) for arg in node.args]
        operands = [self.values[Value(*operand)] for operand in zip(node.args, rows, strict=True)]
        out = np.empty(layers)
        with wide(), suppress(FloatingPointError):  # of inf - inf: the kernel has written NaN
            kernel(node)(*operands, out)
        return out

    def _counts(self, kind: Kind) -> Array:
        matrix = [rows * rows for rows in self.statistics.rows]
        return np.array(matrix if kind is Kind.MATRIX else self.statistics.totals[kind], np.float64)
