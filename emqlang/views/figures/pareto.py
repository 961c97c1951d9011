"""Figure 5: accuracy over size, and what proxies prefer among a table's rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from emqlang.tasks.plot import Pareto, Places
from emqlang.views.figures import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MANY: Final = 50  # rows, of which the WORST share may be left out
WORST: Final = 0.1


def draw(pareto: Pareto) -> Figure:
    """Every row, the best front, uniform rows, and the rows that each proxy prefers at each budget.

    Raises E403 where matplotlib is missing.
    """
    table = pareto.table
    size, accuracy = table.size / 2**20, 100 * table.accuracy

    def points(rows: Places) -> tuple[Any, Any]:
        return size[rows], accuracy[rows]

    figure = canvas.sheet(7.0, 4.6 + 0.12 * len(pareto.preferred))
    axes = figure.subplots()
    axes.scatter(size, accuracy, s=9, color=canvas.LIGHT, linewidths=0, label="rows of the table")
    look: dict[str, Any] = {"linewidth": 1.4, "color": canvas.GREY, "zorder": 2}
    edge = [*size[pareto.front], size.max()], [*accuracy[pareto.front], accuracy.max()]
    axes.step(*edge, where="post", label="the best of each size", **look)
    for place, one in enumerate(pareto.preferred):
        label = canvas.plain(f"{canvas.short(one.name)}: regret {one.regret:.2f}")
        mark = {**canvas.nested(place), "linewidth": 0.6, "linestyle": ":"}
        axes.plot(*points(one.rows), label=label, **mark)
    for label, row in pareto.uniform.items():
        axes.plot(size[row], accuracy[row], "k*", markersize=9)
        canvas.note(axes, label, (size[row], accuracy[row]))
    below = _zoom(axes, pareto)
    hidden = f", {below:,} of them below" if below else ""
    title = f"{table.name}: {canvas.count(len(table), 'configuration')}{hidden}"
    canvas.finish(axes, title, "size, MiB", "top-1 accuracy, %")
    canvas.legend(figure, axes)
    return figure


def _zoom(axes: Axes, pareto: Pareto) -> int:
    """Leaves out a few bad rows, beside which all others would look alike; how many."""
    accuracy = pareto.table.accuracy
    if len(accuracy) < MANY:
        return 0
    marked = [*pareto.uniform.values(), *(row for one in pareto.preferred for row in one.rows)]
    low, high = float(np.quantile(accuracy, WORST)), float(accuracy.max())
    low = min(low, float(accuracy[marked].min(initial=low)))
    margin = 0.05 * (high - low) or 0.01
    axes.set_ylim(100 * (low - margin), 100 * (high + margin))
    return int((accuracy < low - margin).sum())
