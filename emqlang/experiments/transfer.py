"""Does what a search finds hold for networks of another family? One is left out, and judges it.

A search sees the search rows of all other families' tables, and its winner is judged on all rows of
the family that was left out; the winner of a search on all families, on their held-out rows. The
library's formulas stand beside them, on the same rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np

from emqlang.evolve.history import top
from emqlang.evolve.ledger import Ledger
from emqlang.evolve.settings import EvaluationOptions, SearchSettings
from emqlang.evolve.typed.space import default_inputs
from emqlang.experiments.races import Runner, race
from emqlang.experiments.trial import Result, Task, Trial
from emqlang.grammar.expr import Expr, inputs
from emqlang.grammar.inputs import INPUTS, Cost, Kind
from emqlang.grammar.library import LIBRARY
from emqlang.grammar.program import parse
from emqlang.quant.tables.table import load
from emqlang.scores.correlation import RATIOS
from emqlang.tasks.evolve import TableArena
from emqlang.tasks.truth import regrets

# Family -> its tables: those that there were when the study was begun, so that it can go on.
FAMILIES: Final[Mapping[str, tuple[str, ...]]] = {
    "resnet": (
        *("resnet18-fmnist-all", "resnet18-fmnist-inner", "resnet18-fmnist-edge"),
        *("resnet18-fmnist-s1-all", "resnet18-fmnist-s1-inner"),
    ),
    "vgg": ("vgg-fmnist-all", "vgg-fmnist-inner", "vgg-fmnist-edge"),
    "mobilenet": ("mobilenetv2-fmnist-all", "mobilenetv2-fmnist-inner", "mobilenetv2-fmnist-edge"),
    "vit": ("vit-fmnist-all", "vit-fmnist-edge"),
}
TABLES: Final = tuple(name for names in FAMILIES.values() for name in names)


def space(additive: bool) -> SearchSettings:
    """What is searched: all statistics, those of N forwards too, but second derivatives, which take
    longer to collect than all others together."""
    default = default_inputs(additive=additive)
    measured = (name for name, row in INPUTS.items() if row.cost is Cost.FORWARDS)
    also = (name for name in measured if not (additive and INPUTS[name].kind is Kind.IMAGE))
    inputs = tuple(name for name in (*default, *also) if not name.startswith("hess"))
    return SearchSettings(inputs=inputs, max_nodes=16, additive=additive)


SPACES: Final[Mapping[str, SearchSettings]] = {"": space(False), ", additive": space(True)}
FORMULAS: Final = (
    *("fisher_cross", "fisher_root", "fisher_log", "fisher_length", "fisher_whole", "fisher_form"),
    *("shift_spread", "length_spread"),
    *("output_kl", "loss_increase", "hawq_v2", "evolved_four", "evolved", "bit_sum"),
)
SHORT: Final = 12  # nodes of a winner that can still be read


@dataclass(frozen=True)
class Transfer:
    """One variant.

    judges  tables whose rows of `split` judge
    runner  the search, or None for a formula of the library
    proxy   the formula's name
    """

    judges: tuple[str, ...]
    split: str
    runner: Runner | None = None
    proxy: str = ""

    def judging(self, options: EvaluationOptions) -> TableArena:
        """The arena of the rows that judge."""
        settings = SearchSettings(inputs=_read()) if self.runner is None else self.runner.settings
        return TableArena.of(settings, replace(options, tables=self.judges, split=self.split))


def transfers() -> dict[str, Transfer]:
    """The variants, by name."""
    places = {
        f"{family} left out": (tuple(name for name in TABLES if name not in own), own, "all")
        for family, own in FAMILIES.items()
    }
    places["all families"] = TABLES, TABLES, "heldout"
    found = {
        f"{place}{words}": Transfer(judges, split, Runner(settings, searched))
        for place, (searched, judges, split) in places.items()
        for words, settings in SPACES.items()
    }
    for place, (_, judges, split) in places.items():
        found |= {f"{place}: {name}": Transfer(judges, split, proxy=name) for name in FORMULAS}
    return found


def _read() -> tuple[str, ...]:
    """The statistics of the formulas."""
    return inputs(*(LIBRARY[name].canonical for name in FORMULAS))


def sources(
    variants: Mapping[str, Transfer], options: EvaluationOptions, chosen: Sequence[str]
) -> Iterator[TableArena]:
    """One arena for each table and set of statistics, so that none is collected twice."""
    arenas: dict[TableArena, None] = {}
    for one in (variants[name] for name in chosen):
        arena = one.judging(options)
        searched = one.runner.tables if one.runner else ()
        for name in (*one.judges, *searched):
            alone = replace(arena.options, tables=(name,), split="all")
            arenas[replace(arena, options=alone)] = None
    yield from arenas


def transferring(variants: Mapping[str, Transfer]) -> Task:
    """The task of an experiment whose variants are these."""
    return partial(transfer, dict(variants))


def transfer(variants: Mapping[str, Transfer], trial: Trial) -> Result:
    """A search of `size` evaluations, or a formula, judged where the search has not looked."""
    one = variants[trial.variant]
    if one.runner is None:
        (worth,) = _worth(one, trial.options, [LIBRARY[one.proxy].canonical])
        return Result(_figures("", worth), facts={"tables": worth})
    raced = race({trial.variant: one.runner}, trial)
    ledger = Ledger(trial.folder, read_only=True, check=False)
    short = top(ledger, 1, f"nodes <= {SHORT}").entries
    ledger.close()
    texts = [raced.facts["winner"], *(entry.text for entry in short)]
    found = _worth(one, trial.options, [parse(text).canonical for text in texts])
    figures, facts = dict(raced.figures), dict(raced.facts)
    for prefix, text, worth in zip(("", "short, "), texts, found, strict=False):
        figures |= _figures(prefix, worth)
        facts |= {f"{prefix}text": text, f"{prefix}tables": worth}
    return Result(figures, raced.curve, facts)


def _worth(
    one: Transfer, options: EvaluationOptions, forms: Sequence[Expr]
) -> list[dict[str, dict[str, Any]]]:
    """For each program, table -> correlations and regret on the rows that judge."""
    arena = one.judging(options).open()
    found: list[dict[str, dict[str, Any]]] = [{} for _ in forms]
    judged = zip(one.judges, arena.benchmarks, arena.score(forms), strict=True)
    for name, benchmark, scores in judged:
        rho = benchmark.rho(np.nan_to_num(scores))
        lost = regrets(load(name).split(one.split), np.nan_to_num(scores))
        for program, values in enumerate(rho):
            figures = {"rho": values.tolist(), "regret": float(lost[program])}
            found[program][benchmark.name] = figures
    return found


def _figures(prefix: str, worth: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Means over the tables, and the least correlation over all rows of one."""
    rho = np.array([each["rho"] for each in worth.values()])
    means = zip(RATIOS, rho.mean(0), strict=True)
    return {
        **{f"{prefix}@{ratio:.0%}": float(mean) for ratio, mean in means},
        f"{prefix}least": float(rho[:, -1].min()),
        f"{prefix}regret": float(np.mean([each["regret"] for each in worth.values()])),
    }


TRANSFERS: Final = transfers()
