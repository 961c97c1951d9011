"""Pictures, by matplotlib: SVG or PNG, as the file's name says."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emqlang.grammar.diagnostics import error

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from emqlang.standings import Standings

SUFFIXES = (".svg", ".png")
COLUMNS = 4
PANEL = (3.0, 2.6)  # inches


def check(path: Path) -> None:
    """Raises E403 for a name that says neither SVG nor PNG, or where matplotlib is missing."""
    if path.suffix.lower() not in SUFFIXES:
        raise error("E403", f"'{path.name}' is no picture", "end the name with .svg or .png")
    try:
        import matplotlib
    except ImportError as reason:
        raise error("E403", "pictures need matplotlib", "pip install 'emqlang[plot]'") from reason
    matplotlib.rcParams["svg.hashsalt"] = "emqlang"  # the same picture for the same data


def save(figure: Figure, path: Path) -> None:
    """Write a picture whole, or not at all."""
    from emqlang.quant.atomic import write_atomically

    kind = path.suffix.lower().removeprefix(".")
    metadata: dict[str, Any] = {"Date": None} if kind == "svg" else {"Software": None}
    write: Callable[[Path], object] = partial(figure.savefig, format=kind, dpi=150, metadata=metadata)
    write_atomically(path, write)


def scatter(standings: Standings, path: Path) -> None:
    """Figure 3: each proxy's score against the truth of every row, coloured by size. Raises E403."""
    check(path)
    from matplotlib.figure import Figure

    table = standings.table
    truth = 100 * table.accuracy if standings.terms.by == "top1" else table.loss
    count = len(standings.standings)
    columns = min(COLUMNS, count)
    rows = ceil(count / columns)
    figure = Figure(figsize=(PANEL[0] * columns + 0.9, PANEL[1] * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, standing in zip(panels, standings.standings, strict=False):
        points = panel.scatter(standing.scores, truth, c=table.size / 2**20, s=7, cmap="viridis", linewidths=0)
        panel.set_title(f"{standing.name[:28]}   $\\rho$ = {standing.rho[-1]:.2f}", fontsize=9)
        panel.tick_params(labelsize=7)
        panel.xaxis.get_offset_text().set_fontsize(7)
    for panel in panels[count:]:
        panel.set_axis_off()
    figure.supxlabel("score of the configuration", fontsize=9)
    figure.supylabel("top-1 accuracy, %" if standings.terms.by == "top1" else "loss", fontsize=9)
    figure.suptitle(f"{table.name}: {len(table)} configurations", fontsize=10)
    bar = figure.colorbar(points, ax=panels.tolist(), fraction=0.03, pad=0.01)
    bar.set_label("size, MiB", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    save(figure, path)
