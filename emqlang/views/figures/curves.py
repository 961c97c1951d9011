"""The best fitness so far of searches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from emqlang.evolve.history import Curve
from emqlang.views.figures import canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(curves: Sequence[tuple[str, Curve]], judged: str) -> Figure:
    """A line for each search by name, over the programs that it had evaluated; none is empty.

    judged  what fitness is measured on
    Raises E403 where matplotlib is missing.
    """
    figure = canvas.sheet(6.4, 3.8 + 0.16 * len(curves))
    axes = figure.subplots()
    for place, (name, curve) in enumerate(curves):
        evaluated, best = zip(*curve, strict=True)
        label = canvas.plain(f"{canvas.short(name)}: {best[-1]:.4f} after {evaluated[-1]:,.0f}")
        axes.step(evaluated, best, where="post", label=label, **canvas.nested(place))
    canvas.finish(axes, f"best fitness so far, {judged}", "programs evaluated", "fitness")
    axes.set_xlim(left=0)
    canvas.legend(figure, axes)
    return figure
