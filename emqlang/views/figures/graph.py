"""The graph of an expression: operands on the left of what uses them, shared parts once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from emqlang.grammar.diagnostics import error
from emqlang.grammar.expr import Expr, postorder
from emqlang.grammar.ops import INPUT, LITERAL, OPS, Class
from emqlang.views.figures import canvas
from emqlang.views.figures.layout import Layout, layered

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NODES: Final = 200  # that are drawn
ROW, GAP, LETTER, PORT = 0.42, 0.5, 0.085, 0.1  # inches
# kind -> its name, its fill, and the width of its border, which tells them apart in grey
LOOKS: Final = {
    INPUT: ("statistic of the network", "#cfe6f5", 0.8),
    LITERAL: ("number", "#ffffff", 0.0),
    Class.ELEMENTWISE: ("value by value", "#f2f2f2", 0.8),
    Class.REDUCTION: ("over a layer or images", "#fbe3c0", 1.4),
    Class.STRUCTURED: ("on a matrix", "#d5efe6", 1.4),
    Class.CONFIGURATION: ("over layers", "#f3d3e3", 2.2),
}


def draw(expr: Expr, name: str) -> Figure:
    """Raises E403 for an expression of more than NODES nodes, or where matplotlib is missing."""
    nodes = list(postorder(expr))
    if len(nodes) > NODES:
        message = f"the graph has {len(nodes):,} nodes, and at most {NODES} can be read"
        raise error("E403", message, "`emqlang show --stage graph` lists them")
    layout = layered(expr)
    places, width = _columns(layout)
    low = layout.rows * ROW
    shown = [look for kind, look in LOOKS.items() if kind in {*map(_kind, nodes)}]
    named = sum(0.065 * len(name) + 0.6 for name, _, _ in shown)
    figure = canvas.sheet(max(width, named, canvas.WIDE), low + 0.85)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    start = (figure.get_size_inches()[0] - width) / 2
    axes.set_xlim(-start, figure.get_size_inches()[0] - start)
    axes.set_ylim(low + 0.45, -0.4)
    axes.set_axis_off()
    for node in nodes:
        for line in _lines(node, layout, places):
            axes.plot(*zip(*line, strict=True), color=canvas.GREY, linewidth=0.9, zorder=1)
        _node(axes, node, places[node], (layout.row[node, layout.layer[node]] + 0.5) * ROW)
    title = canvas.plain(canvas.short(name, int(figure.get_size_inches()[0] / 0.135)))
    figure.suptitle(title, fontsize=canvas.TEXT)
    _legend(figure, shown)
    return figure


def label(node: Expr) -> str:
    """What a node is in words of the language; numbers to four digits."""
    if node.op == LITERAL:
        return f"{node.number:.4g}"
    if node.op == INPUT:
        return str(node.value)
    if node.op == "pow":
        return f"** {node.number:.4g}"
    return OPS[node.op].infix or ("-" if node.op == "neg" else node.op)


def _columns(layout: Layout) -> tuple[dict[Expr, float], float]:
    """Centres of nodes from left to right, and the whole width, in inches."""
    widest = [1] * layout.layers
    for node, layer in layout.layer.items():
        widest[layer] = max(widest[layer], len(label(node)))
    sizes = [LETTER * letters + GAP for letters in widest]
    starts = [sum(sizes[:layer]) for layer in range(layout.layers)]
    centres = {node: starts[layer] + sizes[layer] / 2 for node, layer in layout.layer.items()}
    return centres, sum(sizes)


def _lines(
    node: Expr, layout: Layout, places: dict[Expr, float]
) -> Iterator[list[tuple[float, float]]]:
    """Of each operand in its order, from the first on top to the last."""
    columns = {layout.layer[other]: place for other, place in places.items()}
    for position, operand in enumerate(node.args):
        port = (position - (len(node.args) - 1) / 2) * PORT
        between = range(layout.layer[operand], layout.layer[node])
        points = [(columns[layer], (layout.row[operand, layer] + 0.5) * ROW) for layer in between]
        end = (layout.row[node, layout.layer[node]] + 0.5) * ROW + port
        yield _bent([*points, (places[node] - LETTER * len(label(node)) / 2, end)])


def _bent(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points of a curve through these that is level at each of them."""
    steps = [i / 12 for i in range(13)]
    return [
        (x + (x2 - x) * t, y + (y2 - y) * t * t * (3 - 2 * t))
        for (x, y), (x2, y2) in pairwise(points)
        for t in steps
    ]


def _node(axes: Axes, node: Expr, x: float, y: float) -> None:
    _, fill, border = LOOKS[_kind(node)]
    shape = "round,pad=0.35" if node.op in (INPUT, LITERAL) else "square,pad=0.35"
    box = {"boxstyle": shape, "facecolor": fill, "edgecolor": "black", "linewidth": border}
    look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": canvas.TEXT}
    axes.text(x, y, canvas.plain(label(node)), bbox=box, zorder=2, **look)


def _kind(node: Expr) -> str:
    kind = node.op if node.op in (INPUT, LITERAL) else OPS[node.op].cls
    return Class.ELEMENTWISE if kind == Class.COMPOSITE else kind


def _legend(figure: Figure, shown: Sequence[tuple[str, str, float]]) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor=fill, edgecolor="black", linewidth=border, label=name)
        for name, fill, border in shown
    ]
    look: dict[str, Any] = {"ncols": len(handles), "frameon": False, "fontsize": canvas.SMALL}
    figure.legend(handles=handles, loc="lower center", **look)
