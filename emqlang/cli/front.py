"""`emqlang front`."""

from __future__ import annotations

from pathlib import Path

from emqlang.cli.base import declare
from emqlang.cli.options import as_json, emq_file, run_folder


@declare("front", "emqlang front runs/evolve-1", "emqlang front runs/evolve-1 --emq winners.emq")
@run_folder
@emq_file
@as_json
def command(run: Path, emq: Path | None, as_json: bool) -> None:
    """Print the best program of each size, where no smaller one is as good."""
    from emqlang.evolve import history
    from emqlang.evolve.ledger import Ledger
    from emqlang.views import history as view

    ledger = Ledger(run, read_only=True)
    programs = history.front(ledger)
    if emq is not None:
        view.write_emq(emq, ledger, programs)
    view.as_json("front", programs) if as_json else view.entries(programs)
