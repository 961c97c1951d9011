"""`emqlang plot curves`."""

from __future__ import annotations

from pathlib import Path

import click

from emqlang.cli.base import declare
from emqlang.cli.options import picture
from emqlang.views import render


@declare(
    "curves",
    "emqlang plot curves runs/evolve-1 --out curve.svg",
    "emqlang plot curves runs/evolve-1 runs/evolve-2 -o both.png",
)
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@picture
def command(runs: tuple[Path, ...], out: Path) -> None:
    """Draw the best fitness so far of one search or several, over the programs evaluated.

    A run may be unfinished: it is drawn as far as its steps are committed.
    """
    from emqlang.tasks.plot import best_so_far
    from emqlang.views.figures import canvas, curves

    canvas.check(out)
    found = best_so_far(runs)
    render.diagnostics(found.diagnostics)
    canvas.save(curves.draw(found.curves, found.judged), out)
    render.note(f"wrote {out}")
