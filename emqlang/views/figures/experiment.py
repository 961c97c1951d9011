"""An experiment: figures with whiskers, curves with bands, of one deviation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emqlang.experiments.catalogue import Panel
from emqlang.experiments.study import Study
from emqlang.views.figures import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINTS = 300  # of a curve
FEW, FAR = 8, 3.0  # points of which none is left out; quartiles' distances, beyond which one may be


def draw(study: Study) -> Figure:
    """The panels of the experiment side by side. Raises E403."""
    shown = study.plan.experiment.panels
    tallest = max(len(panel.variants) for panel in shown)
    figure = canvas.sheet(canvas.WIDE * len(shown), max(4.0, 0.3 * tallest + 1.6))
    for axes, panel in zip(
        figure.subplots(1, len(shown), squeeze=False).ravel(), shown, strict=True
    ):
        axes.set_prop_cycle(color=canvas.COLOURS)
        draw_panel = _marks if panel.figures else _points if panel.joined else _curves
        draw_panel(study, panel, axes)
        axes.set_title(panel.title, fontsize=10)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
    return figure


def _marks(study: Study, panel: Panel, axes: Axes) -> None:
    known = {figure.name: figure for figure in study.plan.experiment.figures}
    variants = [name for name in panel.variants if name in study.results]
    for name in panel.figures:
        points = [
            (*value, place)
            for place, variant in enumerate(variants)
            if (value := study.figure(variant, name)) is not None
        ]
        means, deviations, places = zip(*points, strict=True) if points else ((), (), ())
        style: dict[str, Any] = {"fmt": "o", "markersize": 5, "capsize": 3}
        axes.errorbar(means, places, xerr=deviations, label=known[name].title, **style)
        if paper := known[name].paper:
            marks = [(paper[v], place) for place, v in enumerate(variants) if v in paper]
            published, places = zip(*marks, strict=True) if marks else ((), ())
            axes.plot(published, places, "kD", fillstyle="none", label="the paper")
    axes.set_yticks(range(len(variants)), variants)
    axes.invert_yaxis()
    if len(panel.figures) > 1 or any(known[name].paper for name in panel.figures):
        _legend(axes)


def _curves(study: Study, panel: Panel, axes: Axes) -> None:
    """The best fitness so far: the mean over seeds, from where all have one."""
    grid = np.linspace(0, study.plan.size, POINTS)
    for variant in panel.variants:
        curves = [_steps(result.curve, grid) for result in study.results.get(variant, {}).values()]
        if curves:
            values = np.array(curves)
            mean, deviation = values.mean(0), values.std(0)
            (line,) = axes.plot(grid, mean, linewidth=1.5, label=variant)
            axes.fill_between(
                grid,
                mean - deviation,
                mean + deviation,
                alpha=0.15,
                color=line.get_color(),
                linewidth=0,
            )
    _label(axes, panel)


def _points(study: Study, panel: Panel, axes: Axes) -> None:
    """Points that every seed has, joined: means, with whiskers of one deviation."""
    means: list[float] = []
    for place, variant in enumerate(panel.variants):
        if curves := [result.curve for result in study.results.get(variant, {}).values()]:
            x, y = np.array(curves).transpose(2, 0, 1)
            means += y.mean(0).tolist()
            mark = canvas.MARKS[place % len(canvas.MARKS)]
            style: dict[str, Any] = {"fmt": f"{mark}-", "markersize": 8 - place, "linewidth": 1.3}
            axes.errorbar(x.mean(0), y.mean(0), yerr=y.std(0), label=variant, capsize=2, **style)
    _label(axes, panel)
    if below := _zoom(axes, np.array(means)):
        axes.set_xlabel(f"{panel.axes[0]}; {canvas.count(below, 'point')} below", fontsize=9)


def _zoom(axes: Axes, values: NDArray[np.float64]) -> int:
    """Leaves out values so low that all others would look alike beside them; how many."""
    if len(values) < FEW:
        return 0
    low, high = np.quantile(values, [0.25, 0.75])
    seen = values[values >= low - FAR * (high - low)]
    if len(seen) < len(values):
        margin = 0.08 * (seen.max() - seen.min())
        axes.set_ylim(seen.min() - margin, seen.max() + margin)
    return len(values) - len(seen)


def _label(axes: Axes, panel: Panel) -> None:
    x, y = panel.axes
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    _legend(axes)


def _legend(axes: Axes) -> None:
    """Below, where it hides nothing."""
    if not axes.get_legend_handles_labels()[0]:
        return
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2, frameon=False)


def _steps(curve: Sequence[tuple[float, float]], grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """A curve that only rises at its points, on a grid; NaN before the first."""
    x, y = np.array(curve).T
    places = np.searchsorted(x, grid, side="right") - 1
    return np.where(places >= 0, y[places], np.nan)
