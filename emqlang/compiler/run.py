"""A plan over statistics: reductions from the cache or from an engine, level by level, and layer arithmetic between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from emqlang.compiler import structured
from emqlang.compiler.axes import Axes
from emqlang.compiler.cache import Cache, Key
from emqlang.compiler.cpu import Tiles
from emqlang.compiler.form import TOTAL, chain, is_reduction, is_structured, scalars
from emqlang.compiler.gpu import Segments
from emqlang.compiler.kernels import kernel, wide
from emqlang.compiler.lower import Value
from emqlang.compiler.plan import Plan
from emqlang.compiler.statistics import Statistics
from emqlang.grammar.expr import Expr
from emqlang.grammar.inputs import Kind
from emqlang.grammar.ops import INPUT, LITERAL

Array = NDArray[np.float64]


class Engine(Protocol):
    """Where reductions are computed. Its name is part of the cache's key, for its bits are its own."""

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
    """Values of a plan's programs: (programs, choices, layers). The engine follows from where the statistics lie."""
    axes = Axes(statistics.choices)
    if engine is None:
        engine = (
            Tiles(statistics, axes, threads)
            if statistics.device.type == "cpu"
            else Segments(statistics, axes)
        )
    return _Run(
        plan, statistics, axes, engine, cache, threads or torch.get_num_threads()
    ).programs()


class _Run:
    def __init__(
        self,
        plan: Plan,
        statistics: Statistics,
        axes: Axes,
        engine: Engine,
        cache: Cache | None,
        threads: int,
    ) -> None:
        self.plan, self.statistics, self.axes, self.engine, self.cache = (
            plan,
            statistics,
            axes,
            engine,
            cache,
        )
        self.threads = threads
        self.values: dict[Value, Array] = {}

    def programs(self) -> Array:
        needed = self._needed()
        for level in self.plan.levels:
            values = [Value(node, row) for node in level for row in sorted(needed.get(node, ()))]
            missing = [
                value for value in values if is_reduction(value.node) and value not in self.values
            ]
            self._reduce(missing)
            for value in values:
                if value not in self.values:
                    self.values[value] = self._layer_value(value)
        return np.array([self._choices(program) for program in self.plan.programs]).reshape(
            len(self.plan.programs), len(self.statistics.choices), len(self.statistics.layers)
        )

    def _choices(self, program: Expr) -> list[Array]:
        return [self.values[Value(program, row)] for row in self.axes.of_choices(program.axes)]

    def _needed(self) -> dict[Expr, set[int]]:
        """Rows of every layer value that somebody reads; below a reduction that the cache holds, nobody does."""
        needed: dict[Expr, set[int]] = {
            program: set(self.axes.rows(program.axes)) for program in self.plan.programs
        }
        for level in reversed(self.plan.levels):
            for node in reversed(level):
                if node not in needed:
                    continue
                reduces = is_reduction(node)
                rows = {
                    row for row in needed[node] if not (reduces and self._recall(Value(node, row)))
                }
                for part in scalars(node) if reduces else node.args:
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
        """Computes and keeps them. One that is not finite has no value: NaN, so that 1 / x cannot hide an overflow."""
        whole = [value for value in missing if is_structured(value.node)]
        done = self._layer_by_layer(whole)
        done |= self.engine.reduce(
            [value for value in missing if value not in done], self.values.__getitem__
        )
        for numbers in done.values():
            numbers[~np.isfinite(numbers)] = np.nan
        self.values |= done
        if self.cache is not None:
            for value, numbers in done.items():
                self.cache.put(self._key(value), numbers)

    def _layer_by_layer(self, values: Sequence[Value]) -> dict[Value, Array]:
        """Whole layers, each on one thread, the largest first."""
        sizes = np.diff(self.statistics.offsets[Kind.WEIGHT])
        done = {value: np.empty(len(sizes)) for value in values}

        def work(task: tuple[Value, int]) -> None:
            value, layer = task
            done[value][layer] = self._whole_layer(value, layer)

        tasks = [
            (value, int(layer)) for layer in np.argsort(-sizes, kind="stable") for value in values
        ]
        if tasks:
            with ThreadPoolExecutor(min(self.threads, len(tasks))) as pool:
                list(pool.map(work, tasks))
        return done

    def _whole_layer(self, value: Value, layer: int) -> float:
        done: dict[Expr, Any] = {}
        for node in (*chain(value.node), value.node):
            row = self.axes.project(value.node.axes, value.row, node.axes)
            if node.kind is Kind.LAYER and node is not value.node:
                done[node] = float(self.values[Value(node, row)][layer])
            elif node.op == INPUT:
                done[node] = self._matrix(node, row, layer)
            else:
                done[node] = structured.evaluate(node, [done[arg] for arg in node.args])
        return float(done[value.node])

    def _matrix(self, node: Expr, row: int, layer: int) -> Array:
        """One layer's weight statistic as (output channels, fan-in)."""
        start, stop = self.statistics.offsets[node.kind][layer : layer + 2]
        tensor = self.statistics.array(str(node.value))
        flat = (tensor[row] if node.axes else tensor)[start:stop].cpu().numpy()
        return flat.astype(np.float64).reshape(self.statistics.rows[layer], -1)

    def _layer_value(self, value: Value) -> Array:
        """A literal, a statistic, a count, or layer arithmetic: float64, one number a layer."""
        node, row = value
        layers = len(self.statistics.layers)
        if node.op == LITERAL:
            return np.full(layers, node.number)
        if node.op == INPUT:
            numbers: Array = self.statistics.array(str(node.value)).cpu().numpy()
            return numbers[row] if node.axes else numbers
        if node.op == TOTAL:
            return self._totals(Kind(str(node.value)))
        out = np.empty(layers)
        args = [
            self.values[Value(arg, self.axes.project(node.axes, row, arg.axes))]
            for arg in node.args
        ]
        with (
            wide(),
            suppress(FloatingPointError),
        ):  # inf - inf and the like: the kernel has written its NaN
            kernel(node)(*args, out)
        return out

    def _totals(self, kind: Kind) -> Array:
        matrix = [rows * rows for rows in self.statistics.rows]
        return np.array(matrix if kind is Kind.MATRIX else self.statistics.totals[kind], np.float64)
