"""How layers meet: the cross-layer matrix of a program that does not separate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from emqlang.tasks.plot import Meetings
from emqlang.views.figures import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELL, LEAST, MOST = 0.13, 2.4, 6.0  # inches: of a cell, and of a panel
LABELS: Final = 46  # along an axis
SIGNED: Final = 64  # groups whose negative cells are marked, and how negative a cell must be
NEGATIVE: Final = -0.05


def draw(meetings: Meetings) -> Figure:
    """A row of panels for each total, a panel for each choice; colours are centred at 0.

    Cells below NEGATIVE have a dash, too, since both ends of the colours are dark in grey.
    Raises E403 where matplotlib is missing.
    """
    names, totals = meetings.groups, meetings.totals
    side = min(MOST, max(LEAST, CELL * len(names)))
    _, below = canvas.across(names)
    rows, columns = len(totals), len(meetings.choices)
    height = (side + 0.35) * rows + below + 0.5
    width = max(canvas.WIDE, (side + 0.25) * columns + below + 1.2)
    figure = canvas.sheet(width, height)
    figure.set_layout_engine("compressed")  # which knows that panels are square
    panels = figure.subplots(rows, columns, squeeze=False)
    for row, (total, values) in zip(panels.tolist(), totals.items(), strict=True):
        for axes, choice, matrix in zip(row, meetings.choices, values, strict=True):
            shown = _panel(axes, matrix)
            axes.set_title(canvas.plain(f"{canvas.short(total, 40)}, {choice}"), fontsize=8)
            _names(axes, names, below=total == [*totals][-1], beside=axes is row[0])
    over = canvas.count(meetings.images, "value")
    network, name = canvas.short(meetings.network), canvas.short(meetings.name)
    title = f"{network}: how layers meet in {name}, over {over}"
    figure.suptitle(canvas.plain(title), fontsize=canvas.TITLE)
    bar = figure.colorbar(shown, ax=panels, fraction=0.05, pad=0.01, aspect=14 * rows)
    lost = any(np.isnan(values).any() for values in totals.values())
    bar.set_label(f"mean product, scaled{'; grey: all 0' if lost else ''}", fontsize=8)
    bar.ax.tick_params(labelsize=canvas.SMALL)
    if len(names) <= SIGNED:
        figure.supxlabel(f"- marks cells below {NEGATIVE}", fontsize=canvas.SMALL)
    return figure


def _panel(axes: Axes, matrix: np.ndarray[Any, np.dtype[np.float64]]) -> Any:
    from matplotlib import colormaps

    colours = colormaps["PuOr"].with_extremes(bad="#e8e8e8")
    image = axes.imshow(np.ma.masked_invalid(matrix), cmap=colours, vmin=-1, vmax=1)
    if len(matrix) <= SIGNED:
        y, x = np.nonzero(matrix < NEGATIVE)
        axes.scatter(x, y, marker="_", color="black", s=14, linewidths=0.7)
    return image


def _names(axes: Axes, names: tuple[str, ...], *, below: bool, beside: bool) -> None:
    """Along the two axes."""
    places, texts = canvas.ticks(names, LABELS)
    none = [""] * len(places)
    axes.set_xticks(places, texts if below else none, rotation=90, fontsize=canvas.SMALL - 1)
    axes.set_yticks(places, texts if beside else none, fontsize=canvas.SMALL - 1)
