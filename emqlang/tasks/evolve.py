"""A search from the command line's words to its front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from emqlang.evolve.emq import step as emq
from emqlang.evolve.history import Entry, front
from emqlang.evolve.ledger import Ledger, Progress
from emqlang.evolve.search import Budget, Search
from emqlang.evolve.settings import Settings, papers
from emqlang.grammar.diagnostics import EXIT_INTERRUPTED, EXIT_OK
from emqlang.grammar.inputs import INPUTS, Cost
from emqlang.quant.statistics.subject import Progress as Tell
from emqlang.quant.tables.shelf import DEFAULT
from emqlang.tasks.arenas import ArenaDoor
from emqlang.tasks.workbench import WorkbenchOptions
from emqlang.tasks.workers import Workers
from emqlang.views import evolve as runs
from emqlang.views import render

EVALS, EMQ_STEPS = 20_000, 1_000  # where a run ends if nothing is said
PAPER_ROWS = 50


@dataclass(frozen=True)
class Wish:
    """What a new run is to be."""

    settings: Settings
    judged: runs.Judged

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Wish:
        """The options of `emqlang evolve`. Raises E102, E403, E408."""
        given = {name: value for name, value in options.items() if value is not None}
        own: dict[str, Any] = {
            name: tuple(v) if isinstance(v := given[name], list) else v
            for name in _OWN
            if name in given
        }
        if given.get("no_choice"):
            own["choice_dependent"] = False
        if given.get("fitness") == "paper50":
            own["rows"] = PAPER_ROWS
        settings = papers(**own) if own.get("algorithm") == "emq" else Settings(**own)
        judged = runs.Judged(
            tuple(given["tables"]) or (DEFAULT,), given["split"], given["by"], given["stat_images"]
        )
        return cls(settings, judged)


_OWN = ("algorithm", "seed", "islands", "population", "inputs", "ops", "combine", "max_nodes", "selection", "structure",
        "semantics", "without")  # fmt: skip


@dataclass(frozen=True)
class Done:
    """A run after this call; `progress` is None if it has not had a step yet."""

    ledger: Ledger
    progress: Progress | None
    front: Sequence[Entry]
    stopped: bool

    @property
    def exit_status(self) -> int:
        return EXIT_INTERRUPTED if self.stopped else EXIT_OK


def door_of(settings: Settings, judged: runs.Judged) -> ArenaDoor:
    """The arena that a run is judged on, with what its programs may read, and what their canonical forms may."""
    own = (settings.inputs or emq.INPUTS) if settings.algorithm == "emq" else settings.space.inputs
    inputs = tuple(name for name, row in INPUTS.items() if name in own or row.cost is Cost.FREE)
    taken = WorkbenchOptions(
        stat_images=judged.stat_images, device=judged.device, cache=judged.cache
    )
    return ArenaDoor(judged.tables, inputs, judged.split, judged.by, taken)


def run(
    wish: Wish,
    resume: Path | None,
    out: Path | None,
    budget: Budget,
    workers: int,
    backend: str,
    command: str,
    tell: Tell,
) -> Done:
    """Begins a run, or goes on with one, until its budget is spent. Raises E301, E316, and what its tables raise."""
    ledger = None if resume is None else Ledger.open(resume)
    settings = wish.settings if ledger is None else ledger.settings
    judged = wish.judged if ledger is None else runs.judged_of(ledger)
    door = door_of(settings, judged)
    door.prepare(tell)
    if ledger is None:
        ledger = runs.begin(out or runs.free_place(), settings, judged, door, command)
    else:
        runs.check_same(ledger, door)
    search = Search(ledger, door, Workers(workers, backend).run)
    before = ledger.progress()
    already = before.evaluated if before else 0
    limits = _limits(budget, settings)
    goal = limits.evals or limits.steps

    def told(progress: Progress, seconds: float) -> None:
        done = progress.evaluated if limits.evals else progress.step + 1
        if goal:
            tell(runs.line(progress, seconds, already), min(done, goal), goal)
        else:
            tell(
                runs.line(progress, seconds, already), int(seconds), int(limits.seconds or seconds)
            )

    progress = search.advance(limits, told)
    return Done(ledger, progress, front(ledger), search.stopped)


def _limits(budget: Budget, settings: Settings) -> Budget:
    if budget != Budget():
        return budget
    return Budget(steps=EMQ_STEPS) if settings.algorithm == "emq" else replace(budget, evals=EVALS)


def screen(done: Done) -> None:
    if done.progress is None:
        return render.heading("the run has had no step yet")
    runs.finished(done.ledger, done.progress, done.front)
    render.note(f"go on with: emqlang evolve --resume {done.ledger.folder}")


def as_json(done: Done) -> None:
    progress = done.progress
    render.json_object({
        "schema": f"{runs.SCHEMA}/1",
        "run": str(done.ledger.folder),
        "facts": done.ledger.facts(),
        "evaluated": progress.evaluated if progress else 0,
        "steps": progress.step + 1 if progress else 0,
        "funnel": dict(progress.funnel) if progress else {},
        "front": [runs.entry_record(entry) for entry in done.front],
        "interrupted": done.stopped,
    })  # fmt: skip
