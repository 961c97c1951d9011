"""What proxies say of each layer under each choice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from emqlang.scores.pipeline import Scores
from emqlang.scores.table import Array, ScoreTable
from emqlang.tasks.comparison import losses
from emqlang.views.figures import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HIGH: Final = 2.0  # inches of a panel
UNLIKE: Final = 40.0  # the greatest over the median: where a logarithm shows more


def draw(network: str, scores: Sequence[tuple[str, Scores]]) -> Figure:
    """A panel of layers for each proxy by name, or two for one that does not separate.

    They are the scores of a sum over layers, and else what the score loses where one group's bits
    fall from the menu's most: while all others keep the most bits, and while all have the fewest.
    Raises E403 where matplotlib is missing.
    """
    shown = [panel for name, table in scores for panel in _panels(name, table)]
    names = [_name(group.name, len(group.layers)) for group in scores[0][1].groups]
    width, below = canvas.across(names)
    figure = canvas.sheet(width, HIGH * len(shown) + below + 0.6)
    panels = figure.subplots(len(shown), 1, squeeze=False, sharex=True).ravel()
    for axes, (title, label, values) in zip(panels, shown, strict=True):
        choices = list(map(str, scores[0][1].choices))
        _panel(axes, values, choices)
        scale = ", logarithmic" if _spread(axes, values) else ""
        canvas.finish(axes, title, y=label + scale)
        canvas.layers(axes, names, named=axes is panels[-1])
    title = f"{network}: " * bool(network) + f"{canvas.count(len(names), 'group')} of layers"
    figure.suptitle(canvas.plain(title), fontsize=canvas.TITLE)
    canvas.legend(figure, panels[0])
    return figure


def _panels(name: str, table: Scores) -> Iterator[tuple[str, str, Array]]:
    """Title, label and values (groups, choices) of what is drawn of a proxy."""
    title = canvas.short(name, 60)
    if isinstance(table, ScoreTable):
        yield title, "score", table.scores
        return
    alone, company = losses(table)
    title += ": " * bool(title)
    yield f"{title}lost alone, all others at the most bits", "loss of score", alone
    assert company is not None
    yield f"{title}lost in company, all others at the fewest bits", "loss of score", company


def _panel(axes: Axes, values: Array, choices: Sequence[str]) -> None:
    for column, choice in enumerate(choices):
        look = canvas.style(column)
        places = np.arange(len(values))
        axes.plot(
            places, values[:, column], label=choice, linewidth=0.8, markersize=4, alpha=0.9, **look
        )


def _spread(axes: Axes, values: Array) -> bool:
    """Makes the axis logarithmic on both sides of 0 where a few values would hide all others."""
    sizes = np.abs(values[values != 0])
    if not sizes.size or sizes.max() < UNLIKE * np.median(sizes):
        return False
    decade = float(np.floor(np.log10(np.median(sizes)))) - 1
    axes.set_yscale("symlog", linthresh=10**decade)  # a power: its tick is the first beside 0
    return True


def _name(group: str, layers: int) -> str:
    return group if layers == 1 else f"{group} +{layers - 1}"
