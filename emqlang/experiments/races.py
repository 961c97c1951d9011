"""Searches against each other at equal numbers of evaluations; each is a run that is resumed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from emqlang.evolve import history
from emqlang.evolve.emq.tables import bits_fingerprint
from emqlang.evolve.ledger import FILE
from emqlang.evolve.reasons import BEFORE, Reason
from emqlang.evolve.search import Budget, Search
from emqlang.evolve.settings import EvaluationOptions, SearchSettings
from emqlang.experiments.trial import Result, Task, Trial
from emqlang.scores.correlation import PAPER_ROWS
from emqlang.tasks.evolve import TableArena, begin, resume
from emqlang.tasks.workers import Workers

PAPER_SECONDS = 1.02  # to evaluate one configuration: the paper's Table 1
PAPER_PROBES = 4  # configurations that an early rejection takes; a fitness takes PAPER_ROWS

EARLY = (Reason.INVALID, Reason.INSENSITIVE, Reason.COUNTS_BITS)
LATE = (Reason.OVERFLOW, Reason.UNTOLD, Reason.SAME_SCORES)


@dataclass(frozen=True)
class Runner:
    """A search. `tables`, where given, replace the experiment's."""

    settings: SearchSettings
    tables: tuple[str, ...] = ()

    def options(self, options: EvaluationOptions) -> EvaluationOptions:
        return replace(options, tables=self.tables or options.tables)


def sources(
    runners: Mapping[str, Runner], options: EvaluationOptions, chosen: Sequence[str]
) -> Iterator[TableArena]:
    """The arenas of the chosen runners."""
    yield from dict.fromkeys(
        TableArena.of(runners[name].settings, runners[name].options(options)) for name in chosen
    )


def racing(runners: Mapping[str, Runner]) -> Task:
    """The task of an experiment whose variants are these."""
    return partial(race, dict(runners))


def race(runners: Mapping[str, Runner], trial: Trial) -> Result:
    """One run of `size` evaluations."""
    search = _search(runners[trial.variant], trial)
    search.advance(Budget(evals=trial.size), lambda *_: None)
    ledger = search.ledger
    curve = history.curve(ledger, trial.size)
    (best,) = history.top(ledger, 1).entries
    ((seconds, memory),) = ledger.select("SELECT sum(seconds), max(memory) FROM times")
    figures = {
        "fitness": curve[-1][1],
        "nodes": float(best.nodes),
        "seconds": seconds,
        "MiB": memory / 2**20,
        **_counts(search),
    }
    facts = {"winner": best.text, "program": best.number, "rho": list(best.rho)}
    return Result(figures, curve, facts)


def _search(runner: Runner, trial: Trial) -> Search:
    if (trial.folder / FILE).exists():
        return resume(trial.folder, Workers())
    settings = replace(runner.settings, seed=trial.seed)
    command = f"a trial of '{trial.variant}', seed {trial.seed}"
    return begin(settings, runner.options(trial.options), trial.folder, command, Workers())


def _counts(search: Search) -> dict[str, float]:
    """What became of the proposals, and the price of the evaluations at the paper's speed."""
    status = search.ledger.status()
    assert status is not None
    before, early, late = (
        sum(status.funnel.get(reason, 0) for reason in reasons) for reasons in (BEFORE, EARLY, LATE)
    )
    late += _idle(search)
    full = status.evaluated - early
    configurations = full * PAPER_ROWS + early * PAPER_PROBES
    return {
        "proposals": float(sum(status.funnel.values())),
        "failed": float(early + before + late),
        "caught": (early + before) / max(1, early + before + late),
        "in full": float(full),
        "useful": 1 - late / max(1, full),
        "hours at the paper's price": configurations * PAPER_SECONDS / 3600,
    }


def _idle(search: Search) -> int:
    """Scored programs that say nothing: every choice is the same to them, or they count bits."""
    query = """SELECT count(*) FROM programs
               WHERE reason = '' AND (fingerprint IS NULL OR fingerprint = ?)"""
    ((idle,),) = search.ledger.select(query, (bits_fingerprint(search.source.open()),))
    return int(idle)
