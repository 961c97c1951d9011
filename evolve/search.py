"""A run: steps of all islands, each committed whole, until the budget is spent or Ctrl-C ends it.

Islands are independent within a step, so that any number of them may run at once; between steps
everything is in the ledger.
"""

from __future__ import annotations

import resource
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from time import perf_counter
from typing import Any

from emqlang.evolve.archive import Archive
from emqlang.evolve.arena import ArenaSource
from emqlang.evolve.candidate import Member, StepResult
from emqlang.evolve.emq import step as emq
from emqlang.evolve.ledger import Ledger, Population, Status
from emqlang.evolve.settings import SearchSettings
from emqlang.evolve.typed import step as typed

# Runs a task on each tuple of arguments and gives the results in the order in which they are done.
Run = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]]], Iterator[Any]]
STEPS: dict[str, Callable[..., StepResult]] = {"grammar": typed.step, "emq": emq.step}


@dataclass(frozen=True)
class Budget:
    """Where a run stops, whichever comes first: evaluated programs, steps, seconds of this call."""

    evals: int | None = None
    steps: int | None = None
    seconds: float | None = None

    def spent(self, status: Status | None, seconds: float) -> bool:
        if status is None:
            return False
        limits = (self.evals, self.steps, self.seconds)
        reached = (status.evaluated, status.step + 1, seconds)
        return any(
            limit is not None and value >= limit
            for limit, value in zip(limits, reached, strict=True)
        )


@dataclass
class Search:
    """A run that can be advanced: `source` opens its arena, `run` says where islands run."""

    ledger: Ledger
    source: ArenaSource
    run: Run
    stopped: bool = False  # by Ctrl-C, after a finished step

    def advance(self, budget: Budget, report: Callable[[Status, float], None]) -> Status | None:
        """Steps until the budget is spent or Ctrl-C is pressed.

        report  is called after each step with where the run stands, and the seconds so far
        """
        began, status = perf_counter(), self.ledger.status()
        with self._interruptible():
            while not self.stopped and not budget.spent(status, perf_counter() - began):
                self._step()
                status = self.ledger.status()
                if status is not None:
                    report(status, perf_counter() - began)
        return status

    def _step(self) -> None:
        ledger, settings = self.ledger, self.ledger.settings
        began, number = perf_counter(), ledger.next_step()
        tasks = [
            (settings, ledger.members(island), ledger.folder, self.source, island, number)
            for island in range(settings.islands)
        ]
        results = dict(self.run(work, tasks))
        ordered = [results[island] for island in range(settings.islands)]
        migrating = settings.migrate and (number + 1) % settings.migrate == 0
        exchange = partial(migrated, settings.migrants) if migrating else _stay
        ledger.commit(number, ordered, exchange, perf_counter() - began, peak_memory())

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Ctrl-C ends the run after the current step; a second one at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(*_: object) -> None:
            self.stopped = True
            signal.signal(signal.SIGINT, before)

        before = signal.signal(signal.SIGINT, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def work(
    settings: SearchSettings,
    members: Sequence[Member],
    folder: Path,
    source: ArenaSource,
    island: int,
    number: int,
) -> tuple[int, StepResult]:
    """The task of one island for one step, wherever it runs."""
    ledger = Ledger(folder, read_only=True, check=False)
    archive = _archive(folder, ledger.path.stat().st_ino)
    if settings.algorithm == "emq":
        emq.remember(settings, archive, ledger.genotypes(archive))
    ledger.extend(archive)
    ledger.close()
    step, arena = STEPS[settings.algorithm], source.open()
    return island, step(settings, members, archive, arena, island, number)


@lru_cache(maxsize=4)
def _archive(folder: Path, file: int) -> Archive:
    """This process's archive of a run; extended from the ledger before each task."""
    return Archive()


def migrated(migrants: int, populations: list[Population]) -> list[Population]:
    """Each island's best have joined the next island's population."""
    if len(populations) == 1:
        return populations
    best = [sorted(each, key=lambda member: -member[1])[:migrants] for each in populations]
    return [
        each + [new for new in best[island - 1] if new not in each]
        for island, each in enumerate(populations)
    ]


def _stay(populations: list[Population]) -> list[Population]:
    return populations


def peak_memory() -> int:
    """The most bytes that this process or one of its workers has held."""
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return 1024 * max(resource.getrusage(who).ru_maxrss for who in whose)
