"""`emqlang bench card`."""

from __future__ import annotations

from pathlib import Path

from emqlang.cli.base import declare
from emqlang.cli.options import table
from emqlang.cli.outputs import output
from emqlang.tasks.outputs import Output
from emqlang.views import render


@declare(
    "card",
    "emqlang bench card resnet18-fmnist-all",
    "emqlang bench card resnet18-fmnist-all --out card.md",
)
@table
@output("--out", Output(), "Write it here.  [default: stdout]")
def command(name: str, out: Path | None) -> None:
    """Write a table's data card: command, hashes, licence, ceilings, as Markdown."""
    from emqlang.store import write_text
    from emqlang.tasks import bench
    from emqlang.views.bench import card

    text = card(bench.info(name))
    if out is None:
        render.raw(text)
    else:
        write_text(out, text)
