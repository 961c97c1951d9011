"""A search after an advance, as a screen or as JSON."""

from __future__ import annotations

from typing import Any, Final

from emqlang.evolve.ledger import Ledger, Status
from emqlang.evolve.reasons import MEANINGS, Reason
from emqlang.tasks.evolve import EvolveResult
from emqlang.views import history, render
from emqlang.views.render import Column, View


def screen(result: EvolveResult) -> None:
    """What a run found, and what became of all that was proposed."""
    if result.status is None:
        return render.heading("the run has had no step yet")
    summary(result.ledger, result.status)
    render.text()
    history.programs(result.front, result.heldout)
    render.note(f"resume with: emqlang evolve --resume {result.ledger.folder}")


def record(result: EvolveResult) -> dict[str, Any]:
    """The object of `evolve --json`."""
    status = result.status
    return {
        "schema": f"{history.SCHEMA}/1",
        "run": str(result.ledger.folder),
        "facts": result.ledger.facts,
        "evaluated": status.evaluated if status else 0,
        "steps": status.step + 1 if status else 0,
        "funnel": dict(status.funnel) if status else {},
        "front": [
            {**history.entry_record(entry), "heldout": _heldout(result, entry.number)}
            for entry in result.front.entries
        ],
        "interrupted": result.stopped,
    }


VIEWS: Final = {EvolveResult: View(screen, record)}


def _heldout(result: EvolveResult, number: int) -> dict[str, Any] | None:
    """A program's figures on rows that the search has not seen."""
    unseen = result.heldout.get(number)
    if unseen is None:
        return None
    score = unseen.score
    return {"fitness": score.fitness, "rho": list(score.rho), "regret": unseen.regret}


def summary(ledger: Ledger, status: Status) -> None:
    """How much was done, and what became of it."""
    ((seconds, memory),) = ledger.select("SELECT sum(seconds), max(memory) FROM times")
    programs = f"{status.evaluated:,} programs in {status.step + 1:,} steps"
    fields = [
        ("run", str(ledger.folder)),
        ("evaluated", f"{programs} and {render.duration(seconds)}"),
        ("memory", f"{memory / 2**30:.2f} GiB at most"),
    ]
    render.fields(fields)
    render.text()
    _funnel(status)


def _funnel(status: Status) -> None:
    """How many proposals came to which end."""
    proposals = sum(status.funnel.values())
    counts = [(reason, status.funnel.get(reason.value, 0)) for reason in Reason]
    rows = [
        (f"{count:,}", f"{count / proposals:.1%}", MEANINGS[reason])
        for reason, count in counts
        if count
    ]
    columns = [
        Column("proposals", "right"),
        Column("", "right", "dim"),
        Column("what became of them", folds=True),
    ]
    render.table(columns, rows)
