"""`emqlang front`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from emqlang.cli.base import declare
from emqlang.cli.options import emq_file, run_folder, shown

if TYPE_CHECKING:
    from emqlang.evolve.history import Programs


@declare("front", "emqlang front runs/evolve-1", "emqlang front runs/evolve-1 --emq winners.emq")
@run_folder
@emq_file
@shown("history")
def command(run: Path, emq: Path | None) -> Programs:
    """Print the best program of each size, where no smaller one is as good."""
    from emqlang.evolve.history import front
    from emqlang.evolve.ledger import Ledger
    from emqlang.views import history

    ledger = Ledger(run, read_only=True)
    programs = front(ledger)
    if emq is not None:
        history.write_emq(emq, ledger, programs)
    return programs
