"""Programs that do not separate: what `total` sums, layer by layer; then the rest, on configurations.

A plan's layer values are computed as any others are. A total's terms are (layers, choices, images)
in float64, with one image for a number. The rest of a program is arithmetic on one row for each
configuration, in blocks of a fixed size, so that no score depends on what it is computed with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from emqlang.compiler.axes import Axes
from emqlang.compiler.cache import Cache
from emqlang.compiler.form import COUNT, chain, planning_form, scalars
from emqlang.compiler.form import REDUCTIONS as PLANNED
from emqlang.compiler.plan import Plan, levels_of
from emqlang.compiler.run import run
from emqlang.compiler.statistics import Statistics
from emqlang.compiler.structured import elementwise
from emqlang.grammar.expr import Expr, walk
from emqlang.grammar.inputs import Kind
from emqlang.grammar.levels import CONFIGURATION
from emqlang.grammar.ops import INPUT, LITERAL

Array = NDArray[np.float64]
BLOCK: Final = 64  # configurations that are evaluated together


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
    """Chains of images, evaluated by layer and choice, from layer values (choices, layers)."""

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
            layers = range(len(self.statistics.layers))
            first = [rows.index(row) for row in self.axes.rows(x.axes)]
            each = [[self._evaluate(total, layer, choice) for choice in first] for layer in layers]
            found = np.array(each)[:, list(rows)]
        found[~np.isfinite(found)] = np.nan
        return found

    def _evaluate(self, total: Expr, layer: int, choice: int) -> Array:
        results: dict[Expr, Any] = {}
        for node in chain(total):
            if node.kind is Kind.LAYER:
                results[node] = float(self.values[node][choice, layer])
            elif node.op == INPUT:
                results[node] = self._input(node, layer, choice)
            else:
                results[node] = elementwise(node, [results[arg] for arg in node.args])
        value: Array = results[total.args[0]]
        return value

    def _input(self, node: Expr, layer: int, choice: int) -> Array:
        name = str(node.value)
        if name not in self.arrays:
            self.arrays[name] = self.statistics.array(name).cpu().numpy()
        data, offsets = self.arrays[name], self.statistics.offsets[Kind.IMAGE]
        row = data[self.axes.of_choices(node.axes)[choice]] if node.axes else data
        part: Array = row[offsets[layer] : offsets[layer + 1]].astype(np.float64)
        return part


class Rest:
    """What is left of a program once its totals are known."""

    def __init__(self, program: Expr, images: int) -> None:
        """`images` that a value of the configuration has, if it has one for each."""
        self.images = images
        self.nodes = tuple(walk([program], above_layers))

    def evaluate(self, totals: Mapping[Expr, Array]) -> Array:
        """Scores (n,) from each total's values (n, images), or (n, 1) of numbers."""
        values: dict[Expr, Array] = {}
        for node in self.nodes:
            if node.op == "total":
                values[node] = totals[node]
            elif node.op == LITERAL:
                values[node] = np.full((1, 1), node.number)
            elif node.op == COUNT:
                values[node] = np.full((1, 1), float(self.images))
            elif node.op in REDUCTIONS:
                with np.errstate(all="ignore"):
                    reduced = REDUCTIONS[node.op](values[node.args[0]])
                values[node] = np.where(np.isfinite(reduced), reduced, np.nan)
            else:
                values[node] = elementwise(node, _alike([values[arg] for arg in node.args]))
        return values[self.nodes[-1]][:, 0]


def _alike(operands: Sequence[Array]) -> list[Any]:
    """Numbers beside images stand for as many; one number beside several for all of them."""
    shape = np.broadcast_shapes(*(x.shape for x in operands))
    if shape == (1, 1):
        return list(operands)
    return [float(x[0, 0]) if x.size == 1 else np.broadcast_to(x, shape) for x in operands]


def _mean(x: Array) -> Array:
    """About the first value, so that the mean of equal values is exact."""
    first = x[:, :1]
    mean: Array = first + np.add.reduce(x - first, axis=1, keepdims=True) / x.shape[1]
    return mean


def _var(x: Array) -> Array:
    return _mean((x - _mean(x)) ** 2)


REDUCTIONS: Final[Mapping[str, Callable[[Array], Array]]] = {
    "mean": _mean,
    "var": _var,
    "min": lambda x: np.minimum.reduce(x, axis=1, keepdims=True),
    "max": lambda x: np.maximum.reduce(x, axis=1, keepdims=True),
}
assert REDUCTIONS.keys() == PLANNED
