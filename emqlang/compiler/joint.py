"""Programs that do not separate: what totals sum, by layers; then the rest, on configurations.

A plan's layer values are computed as any others are. A total's terms are (layers, choices, images)
in float64, with one image for a number. The rest of a program is arithmetic on one row for each
configuration, in blocks of a fixed size, so that no score depends on what it is computed with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from emqlang.compiler.axes import Axes
from emqlang.compiler.cache import Cache
from emqlang.compiler.form import COUNT, chain, planning_form, scalars
from emqlang.compiler.form import REDUCTIONS as PLANNED
from emqlang.compiler.kernels import TILE, kernel, wide
from emqlang.compiler.plan import Plan, levels_of
from emqlang.compiler.run import run
from emqlang.compiler.statistics import Statistics, on_host
from emqlang.compiler.structured import elementwise
from emqlang.grammar.expr import Expr, walk
from emqlang.grammar.inputs import Kind
from emqlang.grammar.levels import CONFIGURATION, CONSTANT
from emqlang.grammar.ops import INPUT, LITERAL

Array = NDArray[np.float64]
BLOCK: Final = 64  # configurations whose totals are one product
_CACHED: Final = TILE >> 3  # values that arithmetic takes at a time, so that they stay in cache


@dataclass(frozen=True, slots=True)
class JointPlan:
    """What to compute, whatever the statistics and the configurations are.

    programs  in planning form, one number of the configuration each
    totals    every distinct `total` in them
    layers    the plan of the layer values that totals are made of
    """

    programs: tuple[Expr, ...]
    totals: tuple[Expr, ...]
    layers: Plan


def compile_joint(programs: Sequence[Expr]) -> JointPlan:
    """Plans canonical programs of the configuration together.

    Raises ValueError for one with more than a number, or of another level.
    """
    for program in programs:
        if program.kind is not Kind.LAYER or program.level != CONFIGURATION:
            raise ValueError("a program is one number of the configuration: elaborate it first")
    forms = planning_form(programs)
    totals = tuple(node for node in walk(forms, above_layers) if node.op == "total")
    read = tuple(dict.fromkeys(part for node in totals for part in scalars(node)))
    return JointPlan(forms, totals, Plan(read, levels_of(read)))


def above_layers(node: Expr) -> tuple[Expr, ...]:
    """The operands that belong to the configuration, or to nothing."""
    return () if node.op == "total" else node.args


def terms(
    plan: JointPlan, statistics: Statistics, cache: Cache | None = None, threads: int | None = None
) -> dict[Expr, Array]:
    """For each total, what it sums: (layers, choices, images). Infinities have become NaN."""
    values = dict(
        zip(plan.layers.programs, run(plan.layers, statistics, cache, threads), strict=True)
    )
    images = _Images(statistics, values)
    return {total: images.terms(total) for total in plan.totals}


class _Images:
    """Chains of images, evaluated choice by choice, from layer values (choices, layers)."""

    def __init__(self, statistics: Statistics, values: Mapping[Expr, Array]) -> None:
        self.statistics, self.values = statistics, values
        self.axes = Axes(statistics.choices)
        self.arrays: dict[str, NDArray[Any]] = {}

    def terms(self, total: Expr) -> Array:
        """(layers, choices, images)."""
        (x,) = total.args
        if x.kind is Kind.LAYER:
            found = self.values[x].T[:, :, None].copy()
        else:
            rows = self.axes.of_choices(x.axes)
            first = [rows.index(row) for row in self.axes.rows(x.axes)]
            each = [self._evaluate(total, choice) for choice in first]
            shape = len(self.statistics.layers), self.statistics.offsets[Kind.IMAGE][1]
            found = np.stack([each[row].reshape(shape) for row in rows], axis=1)
        found[~np.isfinite(found)] = np.nan
        return found

    def _evaluate(self, total: Expr, choice: int) -> Array:
        """(layers x images), where each layer has as many images."""
        images, results = self.statistics.offsets[Kind.IMAGE][1], dict[Expr, Any]()
        for node in chain(total):
            if node.kind is Kind.LAYER:
                results[node] = np.repeat(self.values[node][choice], images)
            elif node.op == INPUT:
                results[node] = self._input(node, choice)
            else:
                results[node] = elementwise(node, [results[arg] for arg in node.args])
        value: Array = results[total.args[0]]
        return value

    def _input(self, node: Expr, choice: int) -> Array:
        name = str(node.value)
        if name not in self.arrays:
            self.arrays[name] = on_host(self.statistics.array(name))
        data = self.arrays[name]
        row: Array = data[self.axes.of_choices(node.axes)[choice]] if node.axes else data
        return row.astype(np.float64)


class Rest:
    """What is left of a program once its totals are known, on blocks of as many configurations.

    Values are flat: one number for each configuration, or for each of its images. What belongs to
    no configuration is a number from the start.

    rows  configurations in a block; BLOCK is a multiple of it
    """

    def __init__(self, program: Expr, images: int) -> None:
        """`images` that a value of the configuration has, if it has one for each; at most TILE."""
        self.images, self.rows = images, BLOCK
        while self.rows > 1 and self.rows * images > _CACHED:
            self.rows //= 2
        self.nodes = tuple(walk([program], above_layers))
        self.constants: dict[Expr, float] = {}
        for node in self.nodes:
            if node.level == CONSTANT:
                self.constants[node] = self._constant(node)

    def _constant(self, node: Expr) -> float:
        if node.op == COUNT:
            return float(self.images)
        if node.op == LITERAL:
            return node.number
        return float(elementwise(node, [np.full(1, self.constants[arg]) for arg in node.args])[0])

    def buffers(self) -> dict[Expr, Array]:
        """Room for the values of a block, to be used by one caller at a time."""
        return {
            node: np.empty(self.rows * (self.images if node.kind is Kind.IMAGE else 1))
            for node in self.nodes
            if node.op != "total" and node.level != CONSTANT
        }

    def evaluate(self, totals: Mapping[Expr, Array], buffers: Mapping[Expr, Array]) -> Array:
        """Scores (rows,) from each total's values (rows, images), or (rows, 1) of numbers."""
        values: dict[Expr, Any] = dict(self.constants)
        with wide():
            for node in self.nodes:
                if node.op == "total":
                    values[node] = totals[node].ravel()
                elif node.op in REDUCTIONS:
                    values[node] = _reduced(node, values[node.args[0]].reshape(self.rows, -1))
                elif node not in values:
                    values[node] = buffers[node]
                    operands = [self._spread(x, node, values[x]) for x in node.args]
                    with suppress(FloatingPointError):  # of inf - inf: the kernel has written NaN
                        kernel(node)(*operands, buffers[node])
        score: Array = values[self.nodes[-1]]
        return score

    def _spread(self, operand: Expr, node: Expr, value: Any) -> Any:
        """A number beside images stands for as many."""
        alike = operand.kind is node.kind or operand.level == CONSTANT
        return value if alike else np.repeat(value, self.images)


def _reduced(node: Expr, x: Array) -> Array:
    with np.errstate(all="ignore"):
        value = REDUCTIONS[node.op](x)
    value[~np.isfinite(value)] = np.nan
    return value


def _mean(x: Array) -> Array:
    """About the first value, so that the mean of equal values is exact."""
    first = x[:, 0]
    mean: Array = first + (x - first[:, None]).sum(axis=1) / x.shape[1]
    return mean


def _var(x: Array) -> Array:
    return _mean((x - _mean(x)[:, None]) ** 2)


REDUCTIONS: Final[Mapping[str, Callable[[Array], Array]]] = {
    "mean": _mean,
    "var": _var,
    "min": lambda x: x.min(axis=1),
    "max": lambda x: x.max(axis=1),
}
assert REDUCTIONS.keys() == PLANNED
