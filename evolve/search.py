"""A run: steps of all islands, each committed whole, until the budget is used up or somebody wants it to end.

Islands are independent within a step, so that any number of them may run at once; between steps everything is in the ledger.
"""

from __future__ import annotations

import resource
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import Any

from emqlang.evolve.archive import Archive
from emqlang.evolve.arena import Door
from emqlang.evolve.candidate import Member, Outcome
from emqlang.evolve.emq import step as emq
from emqlang.evolve.ledger import Ledger, Progress, Ranked
from emqlang.evolve.settings import Settings
from emqlang.evolve.typed import step as island

# Runs a task on each tuple of arguments and gives the results in the order in which they are done.
Run = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]]], Iterator[Any]]
STEPS: dict[str, Callable[..., Outcome]] = {"grammar": island.step, "emq": emq.step}


@dataclass(frozen=True)
class Budget:
    """Where a run ends, whichever comes first: programs evaluated, steps, seconds of this call; None is no limit."""

    evals: int | None = None
    steps: int | None = None
    seconds: float | None = None

    def spent(self, progress: Progress | None, seconds: float) -> bool:
        if progress is None:
            return False
        done = (
            (self.evals, progress.evaluated),
            (self.steps, progress.step + 1),
            (self.seconds, seconds),
        )
        return any(limit is not None and value >= limit for limit, value in done)


@dataclass
class Search:
    """A run that is going on. `door` leads to its arena, `run` says where islands run."""

    ledger: Ledger
    door: Door
    run: Run
    stopped: bool = False  # by Ctrl-C: the step was finished first

    def advance(self, budget: Budget, tell: Callable[[Progress, float], None]) -> Progress | None:
        """Steps until the budget is spent or Ctrl-C is pressed; `tell` hears where the run stands, and the seconds so far."""
        settings, began = self.ledger.settings, perf_counter()
        progress = self.ledger.progress()
        with self._listening():
            while not self.stopped and not budget.spent(progress, perf_counter() - began):
                self._step(settings)
                progress = self.ledger.progress()
                if progress is not None:
                    tell(progress, perf_counter() - began)
        return progress

    def _step(self, settings: Settings) -> None:
        began, number = perf_counter(), self.ledger.next_step()
        tasks = [
            (settings, self.ledger.members(place), self.ledger.folder, self.door, place, number)
            for place in range(settings.islands)
        ]
        outcomes = dict(self.run(work, tasks))
        exchange = (
            migration(settings)
            if settings.migrate and (number + 1) % settings.migrate == 0
            else _stay
        )
        ordered = [outcomes[place] for place in range(settings.islands)]
        self.ledger.commit(number, ordered, exchange, perf_counter() - began, peak_memory())

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Ctrl-C is heard between two steps; a second one is not waited for."""
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
    settings: Settings, members: Sequence[Member], folder: Path, door: Door, place: int, number: int
) -> tuple[int, Outcome]:
    """The task of one island for one step, wherever it runs."""
    ledger = Ledger.open(folder, read_only=True)
    archive = _archive(folder, ledger.path.stat().st_ino)
    if settings.algorithm == "emq":
        emq.remember(settings, archive, ledger.genotypes(archive))
    ledger.extend(archive)
    ledger.close()
    return place, STEPS[settings.algorithm](settings, members, archive, door.open(), place, number)


@lru_cache(maxsize=4)
def _archive(folder: Path, file: int) -> Archive:
    """This process's archive of a run; extended from the ledger before each task."""
    return Archive()


def migration(settings: Settings) -> Callable[[list[Ranked]], list[Ranked]]:
    """Each island's best join the next one's population."""

    def exchange(populations: list[Ranked]) -> list[Ranked]:
        best = [
            sorted(own, key=lambda member: -member[1])[: settings.migrants] for own in populations
        ]
        return [
            own + [new for new in best[place - 1] if new not in own]
            for place, own in enumerate(populations)
        ]

    return exchange if settings.islands > 1 else _stay


def _stay(populations: list[Ranked]) -> list[Ranked]:
    return populations


def peak_memory() -> int:
    """Bytes that this process or one of its workers has held at most."""
    own, workers = (
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return max(own, workers) * 1024
