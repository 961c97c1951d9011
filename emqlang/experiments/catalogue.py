"""The experiments: what each asks, of which variants, and how its answer is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from emqlang.evolve.settings import (
    PAPER_INPUTS,
    EvaluationOptions,
    SearchSettings,
    paper_settings,
)
from emqlang.evolve.typed.space import default_inputs
from emqlang.evolve.typed.variation import OPERATORS
from emqlang.experiments import NAMES, budgets, layerwise, qat, transfer, validity
from emqlang.experiments.races import Runner, racing, sources
from emqlang.experiments.trial import Task
from emqlang.grammar.inputs import INPUTS, Cost
from emqlang.tasks.evolve import TableArena

SHARE, NUMBER, WHOLE, TIME = "{:.1%}", "{:.3f}", "{:,.0f}", "{:,.2g}"
ACCURACY = "{:.2%}"


@dataclass(frozen=True)
class Figure:
    """A column: the name of a trial's figure, heading, format, and the paper's values."""

    name: str
    title: str
    form: str
    paper: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Panel:
    """One part of the plot: figures as marks with whiskers, or without any, curves.

    axes    what the curves are over, and what they are of
    joined  whether they are points, the same for every seed, joined by lines; or steps, with bands
    """

    title: str
    variants: tuple[str, ...]
    figures: tuple[str, ...] = ()
    axes: tuple[str, str] = ("programs evaluated", "fitness")
    joined: bool = False


@dataclass(frozen=True)
class Experiment:
    """A question, and the trials that answer it.

    size     what one trial does by default, in `unit`s
    sources  of the arenas that the trials of chosen variants share
    once     variants that have one trial, since nothing in them is random or one will do
    tables   its own, in words; empty where it takes those that are given
    images   whether statistics are of as many images as are given
    minutes  that a trial of this size takes on average, on one core; 0 where that is not known
    """

    question: str
    variants: tuple[str, ...]
    task: Task
    size: int
    unit: str
    figures: tuple[Figure, ...]
    panels: tuple[Panel, ...]
    sources: Callable[[EvaluationOptions, Sequence[str]], Iterable[TableArena]] = (
        lambda options, chosen: ()
    )
    seeds: int = 5
    once: frozenset[str] = frozenset()
    tables: str = ""
    images: bool = True
    minutes: float = 0.0


additive = partial(SearchSettings, additive=True)  # which all were measured with but the last
EARLY = ("sensitivity", "conflicts", "invalid")
_FIGURE4 = {
    "evolution with DPS": paper_settings(),
    "evolution": paper_settings(without=("dps",)),
    "random search": paper_settings(without=("evolution",)),
    "sequential": paper_settings(structure="sequential"),
    "dag": paper_settings(structure="dag"),
    "typed grammar, the paper's inputs": additive(inputs=PAPER_INPUTS, choice_dependent=False),
    "typed grammar": additive(),
}
_TABLE8 = {  # with the authors' formulas, where what torch refuses is found out by evaluating it
    "neither": paper_settings(semantics="paper", without=("equivalence", *EARLY)),
    "early rejection": paper_settings(semantics="paper", without=("equivalence",)),
    "equivalence checking": paper_settings(semantics="paper", without=EARLY),
    "both": paper_settings(semantics="paper"),
}
_JOINT = ("resnet18-fmnist-all", "vgg-fmnist-all")
_FOUR = (*_JOINT, "resnet18-fmnist-inner", "vgg-fmnist-inner")
_WITH_FORWARDS = (
    *default_inputs(additive=True),
    *(name for name, row in INPUTS.items() if row.cost is Cost.FORWARDS and name != "loss_shift"),
)
_TRUTH = {
    "one table": Runner(additive(), _JOINT[:1]),
    "two networks": Runner(additive(), _JOINT),
    "two networks, N forwards": Runner(additive(inputs=_WITH_FORWARDS), _JOINT),
    "four tables, 12 nodes": Runner(additive(max_nodes=12), _FOUR),
    "four tables, 12 nodes, N forwards": Runner(
        additive(max_nodes=12, inputs=_WITH_FORWARDS), _FOUR
    ),
}
_VARIANTS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "random search": {"immigrants": 1.0},
    "one island": {"islands": 1, "population": 256, "offspring": 128, "migrate": 0},
    "no migration": {"migrate": 0},
    "8 islands": {"islands": 8, "population": 32, "offspring": 16},
    "population 32": {"population": 32},
    "population 128": {"population": 128},
    "survival by fitness": {"selection": "fitness"},
    "parents by front": {"parents": "pareto"},
    "no immigrants": {"immigrants": 0.0},
    "immigrants 20 %": {"immigrants": 0.2},
    "tournament of 3": {"tournament": 3},
    "12 nodes": {"max_nodes": 12},
    "40 nodes": {"max_nodes": 40},
    **{
        f"without {name}": {"operators": tuple(other for other in OPERATORS if other != name)}
        for name in OPERATORS
    },
    "nothing that depends on the choice": {"choice_dependent": False},
}


def _race(
    question: str,
    runners: Mapping[str, Runner],
    size: int,
    figures: tuple[Figure, ...],
    *panels: Panel,
) -> Experiment:
    return Experiment(
        question,
        tuple(runners),
        racing(runners),
        size,
        "evaluations",
        figures,
        panels,
        partial(sources, runners),
    )


def _runners(settings: Mapping[str, SearchSettings]) -> dict[str, Runner]:
    return {name: Runner(each) for name, each in settings.items()}


FITNESS, NODES, SECONDS = (
    Figure("fitness", "fitness", NUMBER),
    Figure("nodes", "nodes", WHOLE),
    Figure("seconds", "seconds", TIME),
)
_DRAWN = ("evolution with DPS", "evolution", "random search")
_BUILT = ("evolution with DPS", "sequential", "dag")

EXPERIMENTS: Final[Mapping[str, Experiment]] = {
    "table3": Experiment(
        "How many random programs of each structure are valid, and why are the others not?",
        validity.VARIANTS,
        validity.check,
        400,
        "draws",
        (
            Figure("valid, paper", "valid, authors' formulas", SHARE, validity.PAPER),
            Figure("clash, paper", "refused", SHARE),
            Figure("not finite, paper", "not finite", SHARE),
            Figure("trivial, paper", "-1, 0 or 1", SHARE),
            Figure("valid, ours", "valid here", SHARE),
        ),
        (Panel("valid programs", validity.VARIANTS, ("valid, paper", "valid, ours")),),
        validity.sources,
    ),
    "table8": _race(
        "What do equivalence checking and early rejection save?",
        _runners(_TABLE8),
        2_000,
        (
            Figure("proposals", "proposals", WHOLE),
            Figure("failed", "failed", WHOLE),
            Figure("caught", "caught", SHARE, {"both": 0.97}),
            Figure("in full", "evaluated in full", WHOLE),
            Figure("useful", "of them useful", SHARE),
            Figure("hours at the paper's price", "hours at the paper's price", "{:.1f}"),
            SECONDS,
            FITNESS,
        ),
        Panel("evaluations in full that were useful", tuple(_TABLE8), ("useful",)),
        Panel("best fitness so far", tuple(_TABLE8)),
    ),
    "figure4": _race(
        "Evolution against random search, and structures against each other",
        _runners(_FIGURE4),
        2_000,
        (FITNESS, NODES, SECONDS),
        Panel("evolution and random search", (*_DRAWN, *tuple(_FIGURE4)[-2:])),
        Panel("structures", _BUILT),
    ),
    "figure5": Experiment(
        "How accurate is a network at the paper's budgets, by the bits of each proxy?",
        budgets.VARIANTS,
        budgets.compare,
        1_024,
        "calibration images",
        tuple(
            Figure(f"{each:g}", f"{each:g} of {budgets.FLOAT}", ACCURACY)
            for each in budgets.BUDGETS
        ),
        (
            Panel(
                "resnet18-fmnist, weights quantized, A8",
                budgets.VARIANTS,
                axes=("size, MiB", "top-1 accuracy"),
                joined=True,
            ),
        ),
        seeds=3,
        tables="resnet18-fmnist, 10,000 test images",
        images=False,
        minutes=1.0,
    ),
    "qat": Experiment(
        "What does training quantized win back of what quantizing lost?",
        tuple(qat.ROWS),
        qat.training(qat.ROWS),
        60_000,
        "training images",
        (
            *(Figure(name, name, ACCURACY) for name in ("float", "quantized", "trained")),
            Figure("recovered", "recovered", "{:.0%}"),
            Figure("bits", "bits", "{:.2f}"),
            Figure("MiB", "MiB", "{:.3f}"),
            Figure("seconds", "seconds", WHOLE),
        ),
        (Panel("top-1 accuracy", tuple(qat.ROWS), ("quantized", "trained")),),
        seeds=3,
        once=qat.ONCE,
        tables="10,000 test images",
        images=False,
        minutes=4.0,
    ),
    "layerwise": Experiment(
        "Is a proxy better when it is recomputed on every quantized network?",
        layerwise.VARIANTS,
        layerwise.compare,
        50,
        "rows",
        (
            Figure("separable", "a sum over layers", NUMBER),
            Figure("recomputed", "recomputed", NUMBER),
            Figure("agreement", "between the two", NUMBER),
            Figure("separable, s", "s per configuration", "{:.2g}"),
            Figure("recomputed, s", "recomputed", "{:.2g}"),
        ),
        (
            Panel(
                "Spearman's correlation with accuracy",
                layerwise.VARIANTS,
                ("separable", "recomputed"),
            ),
        ),
        seeds=3,
    ),
    "variants": _race(
        "Which parts of the search earn their place?",
        _runners({name: additive(**changes) for name, changes in _VARIANTS.items()}),
        5_000,
        (FITNESS, NODES, SECONDS),
        Panel("best fitness after equal numbers of evaluations", tuple(_VARIANTS), ("fitness",)),
    ),
    "truth": _race(
        "What does the search find on one table, on two networks, on four tables, "
        "and with statistics that cost N forwards?",
        _TRUTH,
        50_000,
        (FITNESS, NODES, SECONDS, Figure("MiB", "memory, MiB", WHOLE)),
        Panel("best fitness so far", tuple(_TRUTH)),
    ),
    "transfer": Experiment(
        "Does what a search finds hold for a family of networks that it has not seen?",
        tuple(transfer.TRANSFERS),
        transfer.transferring(transfer.TRANSFERS),
        20_000,
        "evaluations",
        (
            *(Figure(name, name, NUMBER) for name in ("@100%", "@50%", "@20%")),
            Figure("least", "least @100%", NUMBER),
            Figure("regret", "regret", "{:.2f}"),
            *(Figure(f"short, {name}", f"short, {name}", NUMBER) for name in ("@100%", "@20%")),
            Figure("short, regret", "short, regret", "{:.2f}"),
            *(FITNESS, NODES, SECONDS),
        ),
        (
            Panel(
                "mean correlation over the left-out tables",
                tuple(name for name, one in transfer.TRANSFERS.items() if one.runner),
                ("@100%", "@20%"),
            ),
        ),
        partial(transfer.sources, transfer.TRANSFERS),
        once=frozenset(name for name, one in transfer.TRANSFERS.items() if not one.runner),
        tables=", ".join(transfer.TABLES),
    ),
}
assert tuple(EXPERIMENTS) == NAMES
