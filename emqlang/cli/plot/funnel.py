"""`emqlang plot funnel`."""

from __future__ import annotations

from pathlib import Path

from emqlang.cli.base import declare
from emqlang.cli.options import picture, run_folder
from emqlang.views import render


@declare(
    "funnel",
    "emqlang plot funnel runs/evolve-1 --out funnel.svg",
    "emqlang plot funnel runs/evolve-1 -o funnel.png --force",
)
@run_folder
@picture
def command(run: Path, out: Path) -> None:
    """Draw what became of a search's proposals: rejected for which reason, evaluated, scored."""
    from emqlang.evolve.ledger import Ledger
    from emqlang.tasks.plot import advanced
    from emqlang.views.figures import canvas, funnel

    canvas.check(out)
    ledger = Ledger(run, read_only=True)
    render.diagnostics(ledger.diagnostics)
    canvas.save(funnel.draw(str(run), advanced(ledger)), out)
    render.note(f"wrote {out}")
