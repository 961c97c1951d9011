"""`emqlang report`."""

from __future__ import annotations

from pathlib import Path

import click

from emqlang.cli.base import declare
from emqlang.cli.outputs import output
from emqlang.tasks.outputs import Output
from emqlang.views import render, ticker


@declare(
    "report",
    "emqlang report runs/evolve-1 -o report.html",
    "emqlang report recipe.json -o bits.html",
    "emqlang report resnet18-fmnist-edge -o table.html",
)
@click.argument("source", metavar="RUN|RECIPE|TABLE")
@output("--out -o", Output(), "The page to write.", required=True)
def command(source: str, out: Path) -> None:
    """Write a page about a search, chosen bits or a benchmark table.

    It stands alone: no network is needed to read it, and it takes light and dark from the browser.
    Of a run: formulas, figures on rows that it has not seen, the best fitness over time, lineage,
    settings; of bits: what each layer gets; of a table: ceilings and the library's ranks.
    """
    from emqlang.store import write_text
    from emqlang.tasks.report import report
    from emqlang.views.report import document

    with ticker.progress() as progress:
        found = report(source, progress)
    render.diagnostics(found.diagnostics)
    write_text(out, document(found))
    render.note(f"{found.title}: {out}")
