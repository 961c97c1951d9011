"""An experiment under way: a folder with one file per finished trial, so that no kill loses two."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from time import perf_counter
from typing import Any

from emqlang import __version__
from emqlang.evolve.settings import EvaluationOptions
from emqlang.experiments.catalogue import EXPERIMENTS, Experiment
from emqlang.experiments.trial import Result, Trial
from emqlang.grammar.diagnostics import EmqError, error, nearest
from emqlang.grammar.ops import VERSION
from emqlang.quant.progress import Progress
from emqlang.store import write_text
from emqlang.tasks.workers import Workers

FACTS = "experiment.json"
TOOK = "took"  # seconds, in the record of a trial


@dataclass(frozen=True)
class StudyPlan:
    """The trials to run: of some of an experiment's variants, each with seeds 0 to `seeds` - 1."""

    name: str
    seeds: int
    size: int
    options: EvaluationOptions
    variants: tuple[str, ...]

    @classmethod
    def of(
        cls,
        name: str,
        seeds: int | None,
        size: int | None,
        options: EvaluationOptions,
        only: Sequence[str] = (),
    ) -> StudyPlan:
        """By default, as the experiment says. Raises E102 for an unknown experiment or variant."""
        experiment = EXPERIMENTS.get(name)
        if experiment is None:
            help = (*nearest(name, EXPERIMENTS), "`emqlang experiment` lists them")
            raise error("E102", f"there is no experiment '{name}'", *help)
        for variant in only:
            if variant not in experiment.variants:
                known = f"its variants are {', '.join(experiment.variants)}"
                help = (*nearest(variant, experiment.variants), known)
                raise error("E102", f"'{name}' has no variant '{variant}'", *help)
        chosen = tuple(variant for variant in experiment.variants if not only or variant in only)
        return cls(name, seeds or experiment.seeds, size or experiment.size, options, chosen)

    @property
    def experiment(self) -> Experiment:
        return EXPERIMENTS[self.name]

    def facts(self) -> dict[str, Any]:
        """What all trials of one folder have in common."""
        return {
            "experiment": self.name,
            "size": self.size,
            "judged": self.options.as_dict(),
            "op_table": VERSION,
            "emqlang": __version__,
            **({"tables": self.experiment.tables} if self.experiment.tables else {}),
        }

    def trials(self, folder: Path) -> list[Trial]:
        """Seed by seed, so that every variant has some results early."""
        return [
            Trial(variant, seed, self.size, self.options, folder / _slug(variant) / str(seed))
            for seed in range(self.seeds)
            for variant in self.variants
            if seed == 0 or variant not in self.experiment.once
        ]


@dataclass(frozen=True)
class Study:
    """Results by variant and seed, of the plan's trials and of others that its folder has."""

    plan: StudyPlan
    results: Mapping[str, Mapping[int, Result]]

    def figure(self, variant: str, name: str) -> tuple[float, float] | None:
        """Mean and standard deviation over the seeds; None where no trial has it."""
        results = self.results.get(variant, {}).values()
        values = [result.figures[name] for result in results if name in result.figures]
        return (mean(values), stdev(values) if len(values) > 1 else 0.0) if values else None


def conduct(
    plan: StudyPlan,
    folder: Path,
    workers: Workers,
    progress: Progress,
    estimate: Callable[[int, float], None] = lambda trials, seconds: None,
) -> Study:
    """Runs the trials that the folder does not have; the study has all that it has then.

    estimate  told how many trials are missing, and how many seconds they will take, where trials
              of the folder or the experiment tell that
    Raises E301, E316, and what trials raise.
    """
    _begin(plan, folder)
    trials = plan.trials(folder)
    missing = [trial for trial in trials if not _file(trial).exists()]
    if missing and (seconds := _seconds(plan, folder)):
        estimate(len(missing), seconds * len(missing) / workers.count)
    if missing:  # statistics are collected here once, and not by every worker
        for source in plan.experiment.sources(plan.options, plan.variants):
            source.open(progress)
    finished = len(trials) - len(missing)
    for _ in workers.run(perform, [(plan.name, trial) for trial in missing]):
        finished += 1
        progress(f"trials of {plan.name}", finished, len(trials))
    results: dict[str, dict[int, Result]] = {}
    for trial, record in _finished(plan, folder):
        results.setdefault(trial.variant, {})[trial.seed] = Result.from_dict(record)
    return Study(plan, results)


def perform(name: str, trial: Trial) -> None:
    """Runs one trial and writes its result."""
    began = perf_counter()
    result = EXPERIMENTS[name].task(trial)
    took = round(perf_counter() - began, 1)
    record = {"variant": trial.variant, "seed": trial.seed, TOOK: took, **result.as_dict()}
    write_text(_file(trial), json.dumps(record, indent=1) + "\n")


def _finished(plan: StudyPlan, folder: Path) -> Iterator[tuple[Trial, dict[str, Any]]]:
    """The trials of the folder, of every variant, and their records."""
    for trial in replace(plan, variants=plan.experiment.variants).trials(folder):
        if _file(trial).exists():
            yield trial, json.loads(_file(trial).read_text(encoding="utf-8"))


def _seconds(plan: StudyPlan, folder: Path) -> float:
    """That a trial takes: as those of the folder took, or as the experiment says; 0 if unknown."""
    took = [record[TOOK] for _, record in _finished(plan, folder) if TOOK in record]
    one = plan.experiment
    return mean(took) if took else 60 * one.minutes * plan.size / one.size


def continues(plan: StudyPlan, folder: Path) -> bool:
    """Whether the folder's trials are the plan's, which goes on with them."""
    try:
        return (folder / FACTS).exists() and not _changed(plan, folder)
    except (OSError, EmqError):  # a name that no file can have; a file that is no record
        return False


def _begin(plan: StudyPlan, folder: Path) -> None:
    path, facts = folder / FACTS, plan.facts()
    if not path.exists():
        with _usable(folder):
            write_text(path, json.dumps(facts, indent=1) + "\n")
    if changed := _changed(plan, folder):
        message = f"the folder holds other trials: {'; '.join(changed)}"
        raise error(
            "E316", message, "give another --out, or begin anew with --force", path=str(folder)
        )


def _changed(plan: StudyPlan, folder: Path) -> list[str]:
    """In what the folder's trials differ from the plan's. Raises E301."""
    with _usable(folder):
        known = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        known["judged"] = EvaluationOptions.from_dict(known["judged"]).as_dict()
    return [
        f"{name} was {known.get(name)}, and is {now}"
        for name, now in plan.facts().items()
        if known.get(name) != now
    ]


@contextmanager
def _usable(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError) as reason:
        raise error("E301", f"the folder cannot be used: {reason}", path=str(folder)) from reason


def _file(trial: Trial) -> Path:
    return trial.folder.with_suffix(".json")


def _slug(variant: str) -> str:
    return re.sub(r"\W+", "-", variant).strip("-")
