"""The experiments that there are: what each asks, of which variants, and how its answer is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

from emqlang.evolve.emq import step as emq
from emqlang.evolve.settings import Settings, papers
from emqlang.evolve.typed.space import default_inputs
from emqlang.evolve.typed.variation import OPERATORS
from emqlang.experiments import NAMES, layerwise, validity
from emqlang.experiments.races import Runner, doors, racing
from emqlang.experiments.trial import Task
from emqlang.grammar.inputs import INPUTS, Cost
from emqlang.tasks.arenas import ArenaDoor
from emqlang.views.evolve import Judged

SHARE, NUMBER, WHOLE, TIME = "{:.1%}", "{:.3f}", "{:,.0f}", "{:,.2g}"


@dataclass(frozen=True)
class Figure:
    """A column: the name of a trial's figure, its heading, and its format; `paper` has what the paper says, by variant."""

    name: str
    title: str
    form: str
    paper: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Panel:
    """One part of the picture: figures as marks with whiskers, or, if none is named, curves with bands."""

    title: str
    variants: tuple[str, ...]
    figures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Experiment:
    """`size` is what one trial does unless something else is asked for, in `unit`s; `doors` lead to what its trials share."""

    question: str
    variants: tuple[str, ...]
    task: Task
    size: int
    unit: str
    figures: tuple[Figure, ...]
    panels: tuple[Panel, ...]
    doors: Callable[[Judged], Iterable[ArenaDoor]] = lambda judged: ()
    seeds: int = 5


EARLY = ("sensitivity", "conflicts", "invalid")
_FIGURE4 = {
    "evolution with DPS": papers(),
    "evolution": papers(without=("dps",)),
    "random search": papers(without=("evolution",)),
    "sequential": papers(structure="sequential"),
    "dag": papers(structure="dag"),
    "typed grammar, the paper's inputs": Settings(inputs=emq.INPUTS, choice_dependent=False),
    "typed grammar": Settings(),
}
_TABLE8 = {  # with the authors' formulas, where what torch refuses is found out by evaluating it
    "neither": papers(semantics="paper", without=("equivalence", *EARLY)),
    "early rejection": papers(semantics="paper", without=("equivalence",)),
    "equivalence checking": papers(semantics="paper", without=EARLY),
    "both": papers(semantics="paper"),
}
_JOINT = ("resnet18-fmnist-all", "vgg-fmnist-all")
_FOUR = (*_JOINT, "resnet18-fmnist-inner", "vgg-fmnist-inner")
_WITH_FORWARDS = (
    *default_inputs(True),
    *(name for name, row in INPUTS.items() if row.cost is Cost.FORWARDS),
)
_TRUTH = {
    "one table": Runner(Settings(), _JOINT[:1]),
    "two networks": Runner(Settings(), _JOINT),
    "two networks, N forwards": Runner(Settings(inputs=_WITH_FORWARDS), _JOINT),
    "four tables, 12 nodes": Runner(Settings(max_nodes=12), _FOUR),
    "four tables, 12 nodes, N forwards": Runner(
        Settings(max_nodes=12, inputs=_WITH_FORWARDS), _FOUR
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
        partial(doors, runners),
    )


def _runners(settings: Mapping[str, Settings]) -> dict[str, Runner]:
    return {name: Runner(own) for name, own in settings.items()}


FITNESS, NODES, SECONDS = (
    Figure("fitness", "fitness", NUMBER),
    Figure("nodes", "nodes", WHOLE),
    Figure("seconds", "seconds", TIME),
)
_DRAWN = ("evolution with DPS", "evolution", "random search")
_BUILT = ("evolution with DPS", "sequential", "dag")

EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType({
    "table3": Experiment(
        "How many random programs of each structure are valid, and why are the others not?",
        validity.VARIANTS, validity.trial, 400, "draws",
        (
            Figure("valid, paper", "valid, authors' formulas", SHARE, validity.PAPER),
            Figure("clash, paper", "refused", SHARE),
            Figure("not finite, paper", "not finite", SHARE),
            Figure("trivial, paper", "-1, 0 or 1", SHARE),
            Figure("valid, ours", "valid here", SHARE),
        ),
        (Panel("valid programs", validity.VARIANTS, ("valid, paper", "valid, ours")),),
        validity.doors,
    ),
    "table8": _race(
        "What do equivalence checking and early rejection save?",
        _runners(_TABLE8), 2_000,
        (
            Figure("proposals", "proposals", WHOLE),
            Figure("failed", "failed", WHOLE),
            Figure("caught", "caught", SHARE, {"both": 0.97}),
            Figure("in full", "evaluated in full", WHOLE),
            Figure("useful", "of them useful", SHARE),
            Figure("hours at the paper's price", "hours at the paper's price", "{:.1f}"),
            SECONDS, FITNESS,
        ),
        Panel("evaluations in full that were useful", tuple(_TABLE8), ("useful",)),
        Panel("best fitness so far", tuple(_TABLE8)),
    ),
    "figure4": _race(
        "Evolution against random search, and structures against each other",
        _runners(_FIGURE4), 2_000, (FITNESS, NODES, SECONDS),
        Panel("evolution and random search", (*_DRAWN, *tuple(_FIGURE4)[-2:])),
        Panel("structures", _BUILT),
    ),
    "layerwise": Experiment(
        "Is a proxy better when it is recomputed on every quantized network?",
        layerwise.VARIANTS, layerwise.trial, 50, "rows",
        (
            Figure("separable", "a sum over layers", NUMBER),
            Figure("recomputed", "recomputed", NUMBER),
            Figure("agreement", "between the two", NUMBER),
            Figure("separable, s", "s a configuration", "{:.2g}"),
            Figure("recomputed, s", "recomputed", "{:.2g}"),
        ),
        (Panel("Spearman's correlation with accuracy", layerwise.VARIANTS, ("separable", "recomputed")),),
        seeds=3,
    ),
    "variants": _race(
        "Which parts of the search earn their place?",
        _runners({name: Settings(**own) for name, own in _VARIANTS.items()}), 5_000, (FITNESS, NODES, SECONDS),
        Panel("best fitness after equal numbers of evaluations", tuple(_VARIANTS), ("fitness",)),
    ),
    "truth": _race(
        "What does the search find on one table, on two networks, on four tables, and with statistics that cost N forwards?",
        _TRUTH, 50_000, (FITNESS, NODES, SECONDS, Figure("MiB", "memory, MiB", WHOLE)),
        Panel("best fitness so far", tuple(_TRUTH)),
    ),
})  # fmt: skip
assert tuple(EXPERIMENTS) == NAMES
