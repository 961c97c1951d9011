"""Texts of a figure that are cut off at its edge, or that lie upon each other, once it is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def faults(figure: Any) -> list[str]:
    """One line for each; empty for a figure that can be read."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure).draw()
    width, height = figure.bbox.size
    boxes = [(text.get_text(), text.get_window_extent()) for text in _texts(figure)]
    found = []
    for place, (text, box) in enumerate(boxes):
        if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1:
            found.append(f"cut: {text}")
        for other, beside in boxes[:place]:
            shared = min(box.x1, beside.x1) - max(box.x0, beside.x0)
            if shared > 1 and min(box.y1, beside.y1) - max(box.y0, beside.y0) > 1:
                found.append(f"upon each other: {text}, {other}")
    return found


def _texts(figure: Any) -> Iterator[Any]:
    """Those that are seen: no label of a tick beyond its axis."""
    from matplotlib.text import Text

    hidden = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if not axes.axison or not low <= tick.get_loc() <= high:
                    hidden |= {tick.label1, tick.label2}
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip() and text not in hidden:
            yield text
