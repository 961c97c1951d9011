"""Searches against each other at equal numbers of evaluations, each a run that goes on where it was stopped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

from emqlang.evolve.fitness import fingerprints
from emqlang.evolve.history import top
from emqlang.evolve.ledger import FILE, Ledger
from emqlang.evolve.reasons import Reason
from emqlang.evolve.search import Budget, Search
from emqlang.evolve.settings import Settings
from emqlang.experiments.trial import Point, Result, Task, Trial
from emqlang.tasks.arenas import ArenaDoor
from emqlang.tasks.evolve import door_of
from emqlang.tasks.workers import Workers
from emqlang.views import evolve as runs

PAPER_SECONDS = 1.02  # to evaluate one configuration: the paper's Table 1
PAPER_ROWS, PAPER_PROBES = 50, 4  # that one fitness takes, and an early rejection


@dataclass(frozen=True)
class Runner:
    """A search's settings; `tables` and `stat_images`, where given, stand for the experiment's."""

    settings: Settings
    tables: tuple[str, ...] = ()
    stat_images: int | None = None

    def judged(self, given: runs.Judged) -> runs.Judged:
        return replace(
            given,
            tables=self.tables or given.tables,
            stat_images=self.stat_images or given.stat_images,
        )


def doors(runners: Mapping[str, Runner], judged: runs.Judged) -> Iterator[ArenaDoor]:
    """The arenas of all runners."""
    yield from dict.fromkeys(
        door_of(runner.settings, runner.judged(judged)) for runner in runners.values()
    )


def racing(runners: Mapping[str, Runner]) -> Task:
    """The task of an experiment whose variants are these."""
    return partial(trial, dict(runners))


def trial(runners: Mapping[str, Runner], given: Trial) -> Result:
    """One run of `size` evaluations."""
    runner = runners[given.variant]
    settings, judged = replace(runner.settings, seed=given.seed), runner.judged(given.judged)
    door = door_of(settings, judged)
    ledger = _ledger(given, settings, judged, door)
    Search(ledger, door, Workers().run).advance(Budget(evals=given.size), lambda *_: None)
    curve = tuple(_curve(ledger, given.size))
    (best,) = top(ledger, 1)
    seconds, memory = ledger.select("SELECT sum(seconds), max(memory) FROM times")[0]
    figures = {
        "fitness": curve[-1][1],
        "nodes": float(best.nodes),
        "seconds": seconds,
        "MiB": memory / 2**20,
    }
    return Result(
        figures | _screened(ledger, door),
        curve,
        {"winner": best.text, "program": best.number, "rho": list(best.rho)},
    )


def _ledger(given: Trial, settings: Settings, judged: runs.Judged, door: ArenaDoor) -> Ledger:
    if not (given.folder / FILE).exists():
        return runs.begin(
            given.folder, settings, judged, door, f"a trial of '{given.variant}', seed {given.seed}"
        )
    ledger = Ledger.open(given.folder)
    runs.check_same(ledger, door)
    return ledger


def _curve(ledger: Ledger, size: int) -> Iterator[Point]:
    """The best fitness so far after each step that raised it, and at the end."""
    query = """SELECT sum(s.evaluated), (SELECT max(fitness) FROM programs p WHERE p.step = s.step AND p.reason = '')
               FROM steps s GROUP BY s.step ORDER BY s.step"""
    evaluated, best = 0, float("-inf")
    for own, fitness in ledger.select(query):
        evaluated += own
        if evaluated > size and best > float("-inf"):
            break
        if fitness is not None and fitness > best:
            best = fitness
            yield float(evaluated), best
    yield float(size), best


def _screened(ledger: Ledger, door: ArenaDoor) -> dict[str, float]:
    """What became of the proposals, and what the evaluations would have cost at the paper's price."""
    progress = ledger.progress()
    assert progress is not None
    funnel = progress.funnel
    early = sum(
        funnel.get(reason, 0) for reason in (Reason.INVALID, Reason.INSENSITIVE, Reason.COUNTS_BITS)
    )
    before = sum(
        funnel.get(reason, 0)
        for reason in (Reason.SEEN, Reason.CONSTANT, Reason.KINDS, Reason.CONFLICT)
    )
    late = sum(
        funnel.get(reason, 0) for reason in (Reason.OVERFLOW, Reason.UNTOLD, Reason.SAME_SCORES)
    ) + _idle(ledger, door)
    full = progress.evaluated - early
    configurations = full * PAPER_ROWS + early * PAPER_PROBES
    return {
        "proposals": float(sum(funnel.values())),
        "failed": float(early + before + late),
        "caught": (early + before) / max(1, early + before + late),
        "in full": float(full),
        "useful": 1 - late / max(1, full),
        "hours at the paper's price": configurations * PAPER_SECONDS / 3600,
    }


def _idle(ledger: Ledger, door: ArenaDoor) -> int:
    """Programs that were scored though they say nothing: every choice is the same to them, or they count bits."""
    (bits,) = fingerprints([card[None] for card in door.open().cards()])
    query = "SELECT count(*) FROM programs WHERE reason = '' AND (fingerprint IS NULL OR fingerprint = ?)"
    return int(ledger.select(query, (bits,))[0][0])
