"""`emqlang front`."""

from __future__ import annotations

from pathlib import Path

from emqlang.cli.base import declare
from emqlang.cli.options import as_json, emq_file, run_folder
from emqlang.views import render


@declare("front", "emqlang front runs/evolve-1", "emqlang front runs/evolve-1 --emq winners.emq")
@run_folder
@emq_file
@as_json
def command(run: Path, emq: Path | None, as_json: bool) -> None:
    """Print the best program of each size, where no smaller one is as good."""
    from emqlang.evolve.history import front
    from emqlang.evolve.ledger import Ledger
    from emqlang.store import write_atomically
    from emqlang.views import evolve as runs

    ledger = Ledger.open(run, read_only=True)
    found = front(ledger)
    if emq is not None:
        write_atomically(
            emq, lambda part: part.write_text(runs.as_emq(ledger, found), encoding="utf-8")
        )
        render.note(f"{len(found)} programs in {emq}")
    runs.entries_json("front", found) if as_json else runs.entries(found)
