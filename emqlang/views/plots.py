"""Pictures, by matplotlib: SVG or PNG, as the file's name says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from emqlang.grammar.diagnostics import error

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from emqlang.experiments.catalogue import Panel
    from emqlang.experiments.study import Study
    from emqlang.quant.ptq.recipe import Recipe
    from emqlang.tasks.rank import Ranking

SUFFIXES = (".svg", ".png")
COLUMNS = 4
PANEL, WIDE = (3.0, 2.6), 5.5  # inches
POINTS = 300  # of a curve
# Of Okabe and Ito: told apart by the colour-blind, too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKS = "osD^vPX"


def check(path: Path) -> None:
    """Raises E403 for a name that says neither SVG nor PNG, or where matplotlib is missing."""
    if path.suffix.lower() not in SUFFIXES:
        raise error("E403", f"'{path.name}' is not a picture", "end the name with .svg or .png")
    try:
        import matplotlib
    except ImportError as reason:
        raise error("E403", "pictures need matplotlib", "pip install 'emqlang[plot]'") from reason
    matplotlib.rcParams["svg.hashsalt"] = "emqlang"  # the same picture for the same data


def save(figure: Figure, path: Path) -> None:
    """Write a picture whole, or not at all."""
    from emqlang.store import write_atomically

    kind = path.suffix.lower().removeprefix(".")
    metadata: dict[str, Any] = {"Date": None} if kind == "svg" else {"Software": None}
    write: Callable[[Path], object] = partial(
        figure.savefig, format=kind, dpi=150, metadata=metadata
    )
    write_atomically(path, write)


def scatter(ranking: Ranking, path: Path) -> None:
    """Figure 3: each proxy's score against the truth of every row, coloured by size, or E403."""
    check(path)
    from matplotlib.figure import Figure

    table = ranking.table
    truth = 100 * table.accuracy if ranking.options.by == "top1" else table.loss
    count = len(ranking.standings)
    columns = min(COLUMNS, count)
    rows = ceil(count / columns)
    figure = Figure(figsize=(PANEL[0] * columns + 0.9, PANEL[1] * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, standing in zip(panels, ranking.standings, strict=False):
        points = panel.scatter(
            standing.scores, truth, c=table.size / 2**20, s=7, cmap="viridis", linewidths=0
        )
        panel.set_title(f"{standing.name[:28]}   $\\rho$ = {standing.rho[-1]:.2f}", fontsize=9)
        panel.tick_params(labelsize=7)
        panel.xaxis.get_offset_text().set_fontsize(7)
    for panel in panels[count:]:
        panel.set_axis_off()
    figure.supxlabel("score of the configuration", fontsize=9)
    figure.supylabel("top-1 accuracy, %" if ranking.options.by == "top1" else "loss", fontsize=9)
    figure.suptitle(f"{table.name}: {len(table)} configurations", fontsize=10)
    bar = figure.colorbar(points, ax=panels.tolist(), fraction=0.03, pad=0.01)
    bar.set_label("size, MiB", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    save(figure, path)


def bits(recipes: Sequence[tuple[str, Recipe]], path: Path) -> None:
    """Figure 6: the weight bits of every layer, a line for each (name, recipe) of one network.

    Raises E403 for recipes whose layers differ, and as `check` does.
    """
    check(path)
    from matplotlib.figure import Figure

    layers = list(recipes[0][1].bits)
    for name, recipe in recipes:
        if not recipe.bits or set(recipe.bits) != set(layers):
            message = f"'{name}' has other layers than '{recipes[0][0]}', or none"
            raise error("E403", message, "draw recipes of one network together")
    figure = Figure(figsize=(max(WIDE, 0.19 * len(layers) + 1.0), 3.6), layout="constrained")
    axes = figure.subplots()
    for place, (name, recipe) in enumerate(recipes):
        values = [recipe.bits[layer] for layer in layers]
        colour, mark = COLOURS[place % len(COLOURS)], MARKS[place % len(MARKS)]
        # what is drawn later is smaller, so that equal bits are seen, too
        style: dict[str, Any] = {"where": "mid", "markersize": max(3.0, 7.0 - 2 * place)}
        style |= {"color": colour, "marker": mark, "linewidth": max(0.8, 2.4 - 1.2 * place)}
        label = f"{name}: mean over layers {np.mean(values):.2f}"
        axes.step(range(len(layers)), values, label=label, **style)
    axes.set_xticks(range(len(layers)), layers, rotation=90, fontsize=7)
    axes.set_yticks(sorted({bits for _, recipe in recipes for bits in recipe.bits.values()}))
    axes.set_xlim(-0.7, len(layers) - 0.3)
    axes.set_ylabel("weight bits", fontsize=9)
    axes.set_title(f"{recipes[0][1].model.name}: bits of {len(layers)} layers", fontsize=10)
    axes.grid(alpha=0.25)
    figure.legend(fontsize=8, loc="outside lower center", frameon=False)
    save(figure, path)


def panels(study: Study, path: Path) -> None:
    """An experiment: figures with whiskers, curves with bands, of one deviation. Raises E403."""
    check(path)
    from matplotlib.figure import Figure

    shown = study.plan.experiment.panels
    tallest = max(len(panel.variants) for panel in shown)
    figure = Figure(
        figsize=(WIDE * len(shown), max(4.0, 0.3 * tallest + 1.6)), layout="constrained"
    )
    for axes, panel in zip(
        figure.subplots(1, len(shown), squeeze=False).ravel(), shown, strict=True
    ):
        (_marks if panel.figures else _curves)(study, panel, axes)
        axes.set_title(panel.title, fontsize=10)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
    save(figure, path)


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
    axes.set_xlabel("programs evaluated", fontsize=9)
    axes.set_ylabel("fitness", fontsize=9)
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
