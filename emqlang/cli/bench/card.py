"""`emqlang bench card`."""

from __future__ import annotations

from pathlib import Path

import click

from emqlang import render
from emqlang.cli.base import declare
from emqlang.cli.options import table


@declare("card", "emqlang bench card resnet18-fmnist-all", "emqlang bench card resnet18-fmnist-all --out card.md")
@table
@click.option("--out", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Write it here.  [default: stdout]")
def command(name: str, out: Path | None) -> None:
    """Write a table's data card: command, hashes, licence, ceilings, as Markdown."""
    from emqlang import bench
    from emqlang.ceilings import ceilings
    from emqlang.quant.atomic import write_atomically
    from emqlang.quant.bench.table import load

    found = load(name)
    text = bench.card(found, list(ceilings(found)))
    if out is None:
        render.raw(text)
    else:
        write_atomically(out, lambda part: part.write_text(text, encoding="utf-8"))
