"""`emqlang bench card`."""

from __future__ import annotations

from pathlib import Path

import click

from emqlang.cli.base import declare
from emqlang.cli.options import table
from emqlang.views import render


@declare(
    "card",
    "emqlang bench card resnet18-fmnist-all",
    "emqlang bench card resnet18-fmnist-all --out card.md",
)
@table
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write it here.  [default: stdout]",
)
def command(name: str, out: Path | None) -> None:
    """Write a table's data card: command, hashes, licence, ceilings, as Markdown."""
    from emqlang.quant.tables.table import load
    from emqlang.store import write_atomically
    from emqlang.tasks.truth import ceilings
    from emqlang.views import bench

    found = load(name)
    text = bench.card(found, list(ceilings(found)))
    if out is None:
        render.raw(text)
    else:
        write_atomically(out, lambda part: part.write_text(text, encoding="utf-8"))
