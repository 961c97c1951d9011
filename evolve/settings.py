"""What a run is: everything that its result depends on, besides what it is judged on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

from emqlang.evolve.fitness import Combine
from emqlang.evolve.typed.space import Space
from emqlang.evolve.typed.variation import OPERATORS
from emqlang.grammar.diagnostics import error, nearest
from emqlang.grammar.inputs import INPUTS, Axis

ALGORITHMS = ("grammar", "emq")
STRUCTURES = ("sequential", "branched", "dag")
SELECTIONS = ("pareto", "fitness")
PARTS = (
    "evolution",
    "osp",
    "dps",
    "equivalence",
    "sensitivity",
    "conflicts",
    "invalid",
)  # of the paper's search
SEMANTICS = ("protected", "paper")
AGGREGATIONS = ("mean", "sum", "l2", "max")


@dataclass(frozen=True)
class Settings:
    """Of the typed grammar's search (`algorithm` 'grammar'), of the paper's ('emq'), and of both.

    inputs, ops       what programs are made of; all that the default space has where nothing is named
    choice_dependent  whether `bits`, `qerr` and the like are inputs; the paper's search has none of them
    population        individuals of one island; `offspring` are scored a step
    migrate           steps between two migrations, of `migrants` individuals to the next island; 0 for none
    immigrants        share of the offspring that is random
    selection         who survives: 'pareto', by NSGA-II over fitness, size and cost, or 'fitness', by fitness alone
    parents           who wins a tournament, in the same words
    operators         of variation

    structure     of the paper's genotypes
    rows          configurations that each fitness is drawn on, 0 for all of them
    without       parts of the paper's search that are switched off; without 'evolution' it is random search
    semantics     'protected': the language's; 'paper': the authors' formulas, unprotected
    aggregation   how a tensor becomes a number at the end: 'mean', 'sum', 'l2', 'max'; '' makes it a gene
    reduce_first  whether a branch is aggregated before the two meet, as the authors' code does
    ratio, topk   the tournament draws ratio * population individuals, and parents are two of its best topk
    crossover, mutation   probabilities
    """

    algorithm: str = "grammar"
    seed: int = 0
    islands: int = 4
    population: int = 64
    inputs: tuple[str, ...] = ()
    ops: tuple[str, ...] = ()
    choice_dependent: bool = True
    combine: str = Combine.MEAN.value
    # the typed grammar's
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
    # the paper's
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
        """Raises E403 for a word that is none of those allowed, E102 and E408 for the space."""
        for name, allowed in _WORDS.items():
            given = getattr(self, name)
            for word in given if isinstance(given, tuple) else (given,):
                if word not in allowed:
                    raise error(
                        "E403",
                        f"'{word}' is no {name}",
                        *nearest(str(word), allowed),
                        f"one of {', '.join(allowed)}",
                    )
        Space.of(
            self.inputs,
            self.ops,
            choice_dependent=self.choice_dependent,
            max_nodes=self.max_nodes,
            max_depth=self.max_depth,
        )
        if self.semantics == "paper" and (
            dependent := [name for name in self.inputs if INPUTS[name].axis is not Axis.NONE]
        ):
            raise error(
                "E403",
                f"'{dependent[0]}' depends on the choice, which the paper's formulas do not know",
            )

    @cached_property
    def space(self) -> Space:
        """The programs of the typed grammar's search."""
        nodes, depth = self.max_nodes, self.max_depth
        return Space.of(
            self.inputs,
            self.ops,
            choice_dependent=self.choice_dependent,
            max_nodes=nodes,
            max_depth=depth,
        )

    def as_dict(self) -> dict[str, Any]:
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Settings:
        """What `as_dict` gave. Raises E316 for a record of another version."""
        if set(record) != {field.name for field in fields(cls)}:
            raise error("E316", "the run was begun by another version", "begin a new one")
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in record.items()
        }
        return cls(**given)


_WORDS: dict[str, tuple[str, ...]] = {
    "algorithm": ALGORITHMS,
    "structure": STRUCTURES,
    "selection": SELECTIONS,
    "parents": SELECTIONS,
    "without": PARTS,
    "semantics": SEMANTICS,
    "aggregation": (*AGGREGATIONS, ""),
    "operators": tuple(OPERATORS),
    "combine": tuple(Combine),
}


def papers(**changes: Any) -> Settings:
    """The paper's settings (section 4.1): population 20, ratio 0.25, crossover and mutation 0.5."""
    own: dict[str, Any] = {
        "algorithm": "emq",
        "islands": 1,
        "population": 20,
        "choice_dependent": False,
    }
    return Settings(**{**own, **changes})
