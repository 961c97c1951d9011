"""What all figures share, by matplotlib: colours and marks, names of layers, legends, files.

No figure touches matplotlib's global state, so that those of a notebook stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from io import BytesIO
from itertools import takewhile
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from emqlang.grammar.diagnostics import error

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES: Final = (".svg", ".png")
COLUMNS: Final = 4  # of panels
PANEL: Final = (3.0, 2.6)  # inches
WIDE, TALLEST, LAYER = 5.5, 100.0, 0.19  # inches; the last one for each layer
# Of Okabe and Ito: told apart by the colour-blind, too; marks tell them apart in grey.
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKS: Final = "osD^vPX"
GREY: Final = "#6a6a6a"
LIGHT: Final = "#c4c4c4"
MOST: Final = 120  # layers that are all named on an axis
NAME: Final = 34  # characters of a name
TEXT, SMALL, TITLE = 9, 7, 10  # points


def check(path: Path) -> None:
    """Raises E403 for a name that says neither SVG nor PNG, or where matplotlib is missing."""
    if path.suffix.lower() not in SUFFIXES:
        raise error("E403", f"'{path.name}' is not a picture", "end the name with .svg or .png")
    _check_library()


def _check_library() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError as reason:
        raise error("E403", "pictures need matplotlib", "pip install 'emqlang[plot]'") from reason


def sheet(width: float, height: float) -> Figure:
    """An empty figure, in inches. Raises E403 where matplotlib is missing."""
    _check_library()
    from matplotlib.figure import Figure

    size = min(width, TALLEST), min(height, TALLEST)
    figure = Figure(figsize=size, layout="constrained")
    figure._repr_png_ = partial(_png, figure)  # type: ignore[attr-defined]  # notebooks call it
    return figure


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write a picture whole, or not at all: the same bytes for the same data.

    Raises E301, E403.
    """
    import matplotlib

    from emqlang.store import write_atomically, writing

    check(path)
    kind = path.suffix.lower().removeprefix(".")
    metadata: dict[str, Any] = {"Date": None} if kind == "svg" else {"Software": None}
    write: Callable[[Path], object] = partial(
        figure.savefig, format=kind, dpi=150, metadata=metadata
    )
    with writing(path), matplotlib.rc_context({"svg.hashsalt": "emqlang"}):
        write_atomically(path, write)


def panels(count: int, size: tuple[float, float] = PANEL) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels, row by row."""
    columns = min(COLUMNS, count)
    rows = ceil(count / columns)
    figure = sheet(size[0] * columns + 0.9, size[1] * rows + 0.5)
    every = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for axes in every[count:]:
        axes.set_axis_off()
    return figure, every[:count]


def plain(text: str) -> str:
    """A text that matplotlib shows as it is: it reads $ as mathematics, and hides a leading _."""
    return ("\u200b" if text.startswith("_") else "") + text.replace("$", r"\$")


def short(name: str, most: int = NAME) -> str:
    """A name whose middle gives way where it is long; its ends tell one from another."""
    name = " ".join(name.split())
    head = (most - 1) // 2
    return name if len(name) <= most else f"{name[:head]}…{name[head + 1 - most :]}"


def count(number: int, what: str) -> str:
    """`1 layer`, `2 layers`."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def style(place: int) -> dict[str, Any]:
    """A colour and a mark, together of one thing alone among 49."""
    turn, colour = divmod(place, len(COLOURS))
    return {"color": COLOURS[colour], "marker": MARKS[(colour + turn) % len(MARKS)]}


def nested(place: int) -> dict[str, Any]:
    """A line and a hollow mark, smaller for what is drawn later, so that equal points are seen."""
    look = {"markersize": max(3.0, 9.0 - 2.0 * place), "linewidth": max(0.8, 2.6 - 1.0 * place)}
    return {**style(place), **look, "markerfacecolor": "none", "markeredgewidth": 1.4}


def across(names: Sequence[str]) -> tuple[float, float]:
    """Width for layers side by side, and height for their names below, in inches."""
    longest = min(max(map(len, names), default=0), NAME)
    return max(WIDE, LAYER * min(len(names), MOST) + 1.0), 0.075 * longest


def layers(axes: Axes, names: Sequence[str], *, named: bool = True) -> None:
    """Layers side by side: their names upright."""
    places, texts = ticks(names, MOST)
    axes.set_xticks(places, texts if named else [""] * len(places), rotation=90, fontsize=SMALL)
    axes.set_xlim(-0.7, len(names) - 0.3)


def ticks(names: Sequence[str], most: int) -> tuple[Sequence[int], list[str]]:
    """Which of so many names are shown along an axis, every k-th one, and how.

    Of names that are too long, what all begin with is left out, since it tells none from another.
    """
    places = range(0, len(names), ceil(len(names) / most))
    start = _common(names) if max(map(len, names)) > NAME and len(names) > 1 else 0
    return places, [plain(short(names[i][start:])) for i in places]


def _common(names: Sequence[str]) -> int:
    """Characters of the parts that all dotted names begin with, the dots too."""
    parts = zip(*(name.split(".")[:-1] for name in names), strict=False)
    return sum(len(part[0]) + 1 for part in takewhile(lambda same: len({*same}) == 1, parts))


def finish(axes: Axes, title: str = "", x: str = "", y: str = "") -> None:
    """Title, labels, small ticks and a faint grid."""
    axes.set_title(plain(title), fontsize=TEXT)
    axes.set_xlabel(plain(x), fontsize=TEXT)
    axes.set_ylabel(plain(y), fontsize=TEXT)
    axes.tick_params(labelsize=SMALL)
    for axis in (axes.xaxis, axes.yaxis):
        axis.get_offset_text().set_fontsize(SMALL)
    axes.grid(alpha=0.25)


def note(axes: Axes, text: str, point: tuple[float, float]) -> None:
    """A small text to the right of a point."""
    axes.annotate(plain(text), point, (5, -9), textcoords="offset points", fontsize=SMALL)


def legend(figure: Figure, axes: Axes) -> None:
    """Below, where it hides nothing; as many columns as its texts leave room for."""
    handles, labels = axes.get_legend_handles_labels()
    if not labels:
        return
    room = figure.get_size_inches()[0] / (0.065 * max(map(len, labels)) + 0.55)
    columns = max(1, min(len(labels), int(room)))
    look: dict[str, Any] = {"ncols": columns, "frameon": False, "fontsize": 8}
    figure.legend(handles, labels, loc="outside lower center", **look)
