"""Figure 3: scores of proxies against the accuracies of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emqlang.tasks.rank import Ranking
from emqlang.views.figures import canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(ranking: Ranking) -> Figure:
    """Each proxy's score against the truth of every row, coloured by size. Raises E403."""
    table = ranking.table
    truth = 100 * table.accuracy if ranking.options.by == "top1" else table.loss
    figure, panels = canvas.panels(len(ranking.standings))
    for panel, standing in zip(panels, ranking.standings, strict=True):
        points = panel.scatter(
            standing.scores, truth, c=table.size / 2**20, s=7, cmap="viridis", linewidths=0
        )
        canvas.finish(panel, f"{standing.name[:28]}   ρ = {standing.rho[-1]:.2f}")
        panel.grid(visible=False)
    figure.supxlabel("score of the configuration", fontsize=canvas.TEXT)
    name = "top-1 accuracy, %" if ranking.options.by == "top1" else "loss"
    figure.supylabel(name, fontsize=canvas.TEXT)
    title = canvas.plain(f"{table.name}: {canvas.count(len(table), 'configuration')}")
    figure.suptitle(title, fontsize=canvas.TITLE)
    bar = figure.colorbar(points, ax=panels, fraction=0.03, pad=0.01)
    bar.set_label("size, MiB", fontsize=8)
    bar.ax.tick_params(labelsize=canvas.SMALL)
    return figure
