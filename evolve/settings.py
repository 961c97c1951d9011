"""Everything that the result of a search depends on: how it searches, and what it is scored on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from random import Random
from typing import Any, Self

import msgspec

from emqlang.evolve.fitness import Combine
from emqlang.evolve.typed.space import Space
from emqlang.evolve.typed.variation import OPERATORS
from emqlang.grammar.diagnostics import error, nearest
from emqlang.grammar.inputs import INPUTS, Axis

ALGORITHMS = ("grammar", "emq")
STRUCTURES = ("sequential", "branched", "dag")
SELECTIONS = ("pareto", "fitness")
# Of the paper's search.
PARTS = ("evolution", "osp", "dps", "equivalence", "sensitivity", "conflicts", "invalid")
SEMANTICS = ("protected", "paper")
AGGREGATIONS = ("mean", "sum", "l2", "max")
PAPER_INPUTS = ("act", "w", "grad", "grad_synflow", "hess")


ADDED = (
    "stat_rounding",
    "stat_iterations",
    "calib_images",
)  # fields that records of older versions lack


@dataclass(frozen=True)
class _Record:
    """Settings that a ledger keeps as JSON."""

    def as_dict(self) -> dict[str, Any]:
        """Of plain values."""
        values = asdict(self)
        return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """What `as_dict` gave, also before it had the fields of ADDED: their defaults were meant.

        Raises E316 for a record of another version, ValueError for values of other types.
        """
        added = {f.name: f.default for f in fields(cls) if f.name in ADDED}
        whole = {**added, **record}
        if set(whole) != {field.name for field in fields(cls)}:
            raise error("E316", "the run was begun by another version", "begin a new one")
        try:
            return msgspec.convert(whole, cls)
        except msgspec.ValidationError as reason:
            raise ValueError(str(reason)) from reason


@dataclass(frozen=True)
class EvaluationOptions(_Record):
    """What candidates are scored on.

    tables           names of shipped tables, or paths
    split            'search' rows, or 'all'
    by               ground truth: 'top1' or 'loss'
    stat_images      images that statistics are taken on
    label_draws      labels drawn for each of them, for `shift` and its like; None: the data's
    stat_rounding    'nearest', or the learned rounding whose errors statistics see
    stat_iterations  of learned rounding, for each layer and width
    calib_images     that rounding is learned on
    cache            whether statistics are read from the cache and written to it
    """

    tables: tuple[str, ...]
    split: str = "search"
    by: str = "top1"
    stat_images: int = 64
    label_draws: int | None = None
    stat_rounding: str = "nearest"
    stat_iterations: int = 1_000
    calib_images: int = 1_024
    device: str = "auto"
    cache: bool = True


@dataclass(frozen=True)
class SearchSettings(_Record):
    """Of the typed grammar's search (`algorithm` 'grammar'), of the paper's ('emq'), and of both.

    inputs, ops       what programs are made of; if none is named, all of the default space
    choice_dependent  whether `bits`, `qerr` and the like are inputs; never in the paper's search
    additive          whether only sums over layers are searched, always in the paper's search
    population        individuals of one island; `offspring` are scored per step
    migrate           steps between migrations of `migrants` individuals to the next island, or 0
    immigrants        share of the offspring that is random
    selection         who survives: 'pareto' (NSGA-II over fitness, size and cost) or 'fitness'
    parents           who wins a tournament, in the same words
    operators         of variation

    structure     of the paper's genotypes
    rows          configurations that each fitness is drawn on, 0 for all of them
    without       parts of the paper's search to leave out; without 'evolution' it is random search
    semantics     'protected': the language's; 'paper': the authors' formulas, unprotected
    aggregation   how a tensor becomes a number: 'mean', 'sum', 'l2', 'max'; '' makes it a gene
    reduce_first  whether a branch is aggregated before the two meet, as the authors' code does
    ratio, topk   tournaments draw ratio * population individuals; two of the best topk are parents
    crossover, mutation   probabilities
    """

    algorithm: str = "grammar"
    seed: int = 0
    islands: int = 4
    population: int = 64
    inputs: tuple[str, ...] = ()
    ops: tuple[str, ...] = ()
    choice_dependent: bool = True
    additive: bool = False
    combine: str = Combine.MEAN.value
    # of the typed grammar
    offspring: int = 32
    migrate: int = 10
    migrants: int = 3
    immigrants: float = 0.05
    selection: str = "pareto"
    parents: str = "fitness"
    operators: tuple[str, ...] = tuple(OPERATORS)
    tournament: int = 5
    max_nodes: int = 24
    max_depth: int = 9
    # of the paper
    structure: str = "branched"
    rows: int = 0
    without: tuple[str, ...] = ()
    semantics: str = "protected"
    aggregation: str = "mean"
    reduce_first: bool = True
    ratio: float = 0.25
    topk: int = 5
    crossover: float = 0.5
    mutation: float = 0.5

    def __post_init__(self) -> None:
        """Raises E403 for a word that is not allowed, E102 and E408 for the space."""
        for name, (noun, known) in _WORDS.items():
            value = getattr(self, name)
            for word in value if isinstance(value, tuple) else (value,):
                if word not in known:
                    help = (*nearest(str(word), known), f"one of {', '.join(known)}")
                    raise error("E403", f"there is no {noun} '{word}'", *help)
        for name in ("islands", "population", "offspring", "max_nodes", "max_depth"):
            if (count := getattr(self, name)) < 1:
                raise error("E403", f"{name.replace('_', ' ')} is {count}, and is 1 at least")
        _ = self.space
        dependent = [name for name in self.inputs if INPUTS[name].axis is not Axis.NONE]
        if self.semantics == "paper" and dependent:
            message = (
                f"'{dependent[0]}' depends on the choice, which the paper's formulas do not know"
            )
            raise error("E403", message)

    @cached_property
    def space(self) -> Space:
        """The programs of the typed grammar's search."""
        return Space.of(
            self.inputs,
            self.ops,
            choice_dependent=self.choice_dependent,
            additive=self.additive,
            max_nodes=self.max_nodes,
            max_depth=self.max_depth,
        )

    @property
    def statistics(self) -> tuple[str, ...]:
        """The names of what programs may read."""
        if self.algorithm == "emq":
            return self.inputs or PAPER_INPUTS
        return self.space.inputs

    def generator(self, island: int, step: int) -> Random:
        """The source of all randomness in one step of one island."""
        return Random(f"{self.seed} {island} {step}")


_WORDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "algorithm": ("algorithm", ALGORITHMS),
    "structure": ("structure", STRUCTURES),
    "selection": ("selection", SELECTIONS),
    "parents": ("selection of parents", SELECTIONS),
    "without": ("part of the search", PARTS),
    "semantics": ("semantics", SEMANTICS),
    "aggregation": ("aggregation", (*AGGREGATIONS, "")),
    "operators": ("operator", tuple(OPERATORS)),
    "combine": ("combination", tuple(Combine)),
}


def paper_settings(**changes: Any) -> SearchSettings:
    """The paper's settings (section 4.1): population 20, ratio 0.25, crossover and mutation 0.5."""
    values = {"algorithm": "emq", "islands": 1, "population": 20, "choice_dependent": False}
    return SearchSettings(**{**values, **changes})
