"""An experiment under way: a folder with one file for each trial that is done, so that a kill at any moment loses one trial."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from emqlang import __version__
from emqlang.experiments.catalogue import EXPERIMENTS, Experiment
from emqlang.experiments.trial import Result, Trial
from emqlang.grammar.diagnostics import error, nearest
from emqlang.grammar.ops import VERSION
from emqlang.quant.statistics.subject import Progress
from emqlang.store import write_atomically
from emqlang.tasks.workers import Workers
from emqlang.views.evolve import Judged

FACTS = "experiment.json"


@dataclass(frozen=True)
class Plan:
    """What is to be done. `variants` are all of the experiment's, unless some are named."""

    name: str
    seeds: int
    size: int
    judged: Judged
    variants: tuple[str, ...]

    @classmethod
    def of(
        cls, name: str, seeds: int | None, size: int | None, judged: Judged, only: Sequence[str]
    ) -> Plan:
        """Raises E102 for an experiment or a variant that is none."""
        experiment = EXPERIMENTS.get(name)
        if experiment is None:
            raise error(
                "E102",
                f"there is no experiment '{name}'",
                *nearest(name, EXPERIMENTS),
                "`emqlang experiment` lists them",
            )
        for variant in only:
            if variant not in experiment.variants:
                help = f"its variants are {', '.join(experiment.variants)}"
                raise error(
                    "E102",
                    f"'{name}' has no variant '{variant}'",
                    *nearest(variant, experiment.variants),
                    help,
                )
        chosen = tuple(variant for variant in experiment.variants if not only or variant in only)
        return cls(name, seeds or experiment.seeds, size or experiment.size, judged, chosen)

    @property
    def experiment(self) -> Experiment:
        return EXPERIMENTS[self.name]

    def facts(self) -> dict[str, Any]:
        """What all trials of one folder have in common."""
        return {
            "experiment": self.name,
            "size": self.size,
            "judged": {**self.judged.__dict__, "tables": list(self.judged.tables)},
            "op_table": VERSION,
            "emqlang": __version__,
        }


@dataclass(frozen=True)
class Study:
    """Results so far: by variant, of each seed that is done."""

    plan: Plan
    results: Mapping[str, Mapping[int, Result]]

    def figure(self, variant: str, name: str) -> tuple[float, float] | None:
        """Mean and standard deviation over the seeds; None where no trial has it."""
        values = [
            result.figures[name]
            for result in self.results.get(variant, {}).values()
            if name in result.figures
        ]
        return (mean(values), stdev(values) if len(values) > 1 else 0.0) if values else None


def conduct(plan: Plan, folder: Path, workers: Workers, tell: Progress) -> Study:
    """Does the trials that the folder does not have yet. Raises E301, E316, and what the trials raise."""
    _begin(plan, folder)
    wanted = [
        Trial(variant, seed, plan.size, plan.judged, folder / _slug(variant) / str(seed))
        for seed in range(plan.seeds)
        for variant in plan.variants
    ]
    missing = [trial for trial in wanted if not _file(trial).exists()]
    if missing:
        _prepare(plan, tell)
    done = len(wanted) - len(missing)
    for _ in workers.run(perform, [(plan.name, trial) for trial in missing]):
        done += 1
        tell(f"trials of {plan.name}", done, len(wanted))
    return Study(plan, {variant: _results(wanted, variant) for variant in plan.variants})


def perform(name: str, trial: Trial) -> None:
    """The task of one trial: done, and written down."""
    result = EXPERIMENTS[name].task(trial)
    text = json.dumps({"variant": trial.variant, "seed": trial.seed, **result.as_dict()}, indent=1)
    write_atomically(_file(trial), lambda path: path.write_text(text + "\n", encoding="utf-8"))


def _begin(plan: Plan, folder: Path) -> None:
    path = folder / FACTS
    try:
        if not path.exists():
            write_atomically(
                path,
                lambda part: part.write_text(
                    json.dumps(plan.facts(), indent=1) + "\n", encoding="utf-8"
                ),
            )
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as reason:
        raise error("E301", f"the folder cannot be used: {reason}", path=str(folder)) from reason
    changed = [
        f"{name} was {known.get(name)}, and is {now}"
        for name, now in plan.facts().items()
        if known.get(name) != now
    ]
    if changed:
        message = f"the folder holds other trials: {'; '.join(changed)}"
        raise error("E316", message, "give another --out", path=str(folder))


def _prepare(plan: Plan, tell: Progress) -> None:
    """Statistics are taken once, before trials run side by side and each would take them."""
    for door in plan.experiment.doors(plan.judged):
        door.prepare(tell)


def _file(trial: Trial) -> Path:
    return trial.folder.with_suffix(".json")


def _results(trials: Sequence[Trial], variant: str) -> dict[int, Result]:
    own = [trial for trial in trials if trial.variant == variant]
    return {
        trial.seed: Result.from_dict(json.loads(_file(trial).read_text(encoding="utf-8")))
        for trial in own
    }


def _slug(variant: str) -> str:
    return re.sub(r"\W+", "-", variant).strip("-")
