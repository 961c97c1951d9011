"""Fronts: a score over what it costs, or a search's fitness over size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from emqlang.tasks.fronts import Front
from emqlang.views.figures import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKED: Final = 60  # points that are marked one by one


def draw(fronts: Sequence[Front]) -> Figure:
    """A panel for each front, since scores of two proxies are not of one scale. Raises E403."""
    figure, panels = canvas.panels(len(fronts), (4.6, 3.6))
    for axes, front in zip(panels, fronts, strict=True):
        _panel(axes, front)
    canvas.legend(figure, next((a for a in panels if len(a.lines) > 1), panels[0]))
    return figure


def _panel(axes: Axes, front: Front) -> None:
    costs, worth = zip(*front.points, strict=True)
    mark: dict[str, Any] = {**canvas.style(0), "markersize": 4}
    mark |= {"marker": "" if len(costs) > MARKED else mark["marker"]}
    label = f"{front.worth} of the front"
    axes.step(costs, worth, where="post", linewidth=1.2, label=label, **mark)
    for place, (choice, (cost, score)) in enumerate(front.uniform.items()):
        label = "uniform bits" if place == 0 else "_"  # which legends leave out
        axes.plot(cost, score, "k*", markersize=9, label=label)
        canvas.note(axes, choice, (cost, score))
    axes.margins(0.08)
    if all(cost.is_integer() for cost in costs) and costs[-1] < MARKED:
        axes.locator_params(axis="x", integer=True)
    count = canvas.count(len(costs), "point")
    canvas.finish(axes, f"{canvas.short(front.name, 44)}: {count}", front.cost, front.worth)
