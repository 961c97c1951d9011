"""What travels between a run and its islands: texts, numbers and digests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import nan

from emqlang.evolve.reasons import Reason
from emqlang.grammar.expr import Expr, inputs
from emqlang.grammar.inputs import INPUTS, Cost

COSTS = tuple(Cost)


@dataclass(frozen=True, slots=True)
class Member:
    """An individual of a population.

    number    the program's in the ledger
    genotype  its text, or the paper's genes
    """

    number: int
    genotype: str
    fitness: float
    nodes: int
    cost: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A program that was new when it was proposed: where it comes from, and what became of it.

    text         as built, with the sign that has its fitness
    genotype     the text again, or the paper's genes
    key          canonical, of the elaborated program
    opposite     its negative's key, empty if it was not scored
    parents      numbers of members
    cost         class of the most expensive statistic that it reads
    fitness      NaN unless scored; `rho` per benchmark and ratio
    """

    text: str
    genotype: str
    key: bytes
    operator: str
    parents: tuple[int, ...]
    nodes: int
    cost: int
    reason: Reason
    fitness: float = nan
    rho: tuple[float, ...] = ()
    fingerprint: bytes = b""
    opposite: bytes = b""


@dataclass(frozen=True)
class StepResult:
    """What one step of one island did.

    candidates  new programs, in the order in which they were proposed
    members     the population: numbers, or -1 - i for the i-th candidate; fitness; genotype
    variants    keys of known programs, and genotypes of theirs that are new graphs
    funnel      counts of proposals by reason
    repeats     key -> how many proposals were a program that had been seen
    evaluated   how many programs were evaluated
    """

    candidates: Sequence[Candidate]
    members: Sequence[tuple[int, float, str]]
    variants: Sequence[tuple[bytes, str]]
    funnel: Mapping[str, int]
    repeats: Mapping[bytes, int]
    evaluated: int


@dataclass
class Tally:
    """Collects the result of a step."""

    candidates: list[Candidate] = field(default_factory=list)
    funnel: Counter[str] = field(default_factory=Counter)
    repeats: Counter[bytes] = field(default_factory=Counter)
    variants: list[tuple[bytes, str]] = field(default_factory=list)
    evaluated: int = 0

    def add(self, candidate: Candidate) -> int:
        """Notes a new program; returns the number that stands for it until it is committed."""
        self.candidates.append(candidate)
        self.funnel[candidate.reason] += 1
        return -len(self.candidates)

    def repeat(self, key: bytes, reason: Reason = Reason.SEEN) -> None:
        """Notes a program that had been seen."""
        self.funnel[reason] += 1
        self.repeats[key] += 1

    def result(self, members: Sequence[Member]) -> StepResult:
        population = [(member.number, member.fitness, member.genotype) for member in members]
        funnel, repeats = dict(self.funnel), dict(self.repeats)
        return StepResult(
            self.candidates, population, self.variants, funnel, repeats, self.evaluated
        )


def cost_of(program: Expr) -> int:
    """The class, as a place in COSTS, of the most expensive statistic that a program reads."""
    return max((COSTS.index(INPUTS[name].cost) for name in inputs(program)), default=0)
