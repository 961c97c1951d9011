"""What became of a search's proposals."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import fill
from typing import TYPE_CHECKING, Any, Final

from emqlang.evolve.ledger import Status
from emqlang.evolve.reasons import BEFORE, MEANINGS, Reason
from emqlang.views.figures import canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PASSED: Final = {"facecolor": canvas.COLOURS[0]}
REJECTED: Final = {"facecolor": canvas.COLOURS[4], "hatch": "///"}
LINE: Final = 54  # characters


def draw(name: str, status: Status) -> Figure:
    """A bar for all proposals, for each reason of rejection, the evaluated ones, and the scored.

    Reasons come in the order in which they are asked for; those that never applied are left out.
    Raises E403 where matplotlib is missing.
    """
    rows = [*_rows(status)]
    texts = [fill(text, LINE) for text, _, _ in rows]
    lines = sum(1 + text.count("\n") for text in texts)
    figure = canvas.sheet(7.4, 1.1 + 0.15 * lines + 0.14 * len(rows))
    axes = figure.subplots()
    for place, (_, count, look) in enumerate(rows):
        edge: dict[str, Any] = {"edgecolor": "black", "linewidth": 0.5, "height": 0.7}
        bar = axes.barh([place], [count], **edge, **look)
        share = f"{count:,}  ({count / rows[0][1]:.1%})"
        axes.bar_label(bar, [share], padding=3, fontsize=canvas.SMALL)
    title = f"{canvas.short(name, 50)}: what became of its proposals"
    figure.suptitle(canvas.plain(title), fontsize=canvas.TITLE)
    canvas.finish(axes, x="proposals")
    axes.set_yticks(range(len(rows)), texts, fontsize=canvas.SMALL)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.25 * rows[0][1])
    axes.grid(visible=False, axis="y")
    return figure


def _rows(status: Status) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Text, count and look of each bar."""
    funnel = {reason: status.funnel.get(reason.value, 0) for reason in Reason}
    rejected = [reason for reason in Reason if funnel[reason] and reason is not Reason.SCORED]
    yield "all proposals", sum(funnel.values()), PASSED
    for before in (True, False):
        for reason in rejected:
            if (reason in BEFORE) is before:
                yield f"rejected: {MEANINGS[reason]}", funnel[reason], REJECTED
        if before:
            yield "evaluated", status.evaluated, PASSED
    yield "scored: new, and says something", funnel[Reason.SCORED], PASSED
