"""What travels between a run and its islands: texts, numbers and digests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from emqlang.evolve.reasons import Reason
from emqlang.grammar.expr import Expr, inputs
from emqlang.grammar.inputs import INPUTS, Cost

COSTS = tuple(Cost)


@dataclass(frozen=True, slots=True)
class Member:
    """An individual of a population. `number` is the program's in the ledger; `genotype` is its text, or the paper's genes."""

    number: int
    genotype: str
    fitness: float
    nodes: int
    cost: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A program that was new when it was proposed: where it comes from, and what became of it.

    text         as built, with the sign that its fitness is of
    genotype     the text again, or the paper's genes
    key          canonical, of the elaborated program; `opposite` is its negative's, empty if it was not scored
    parents      numbers of members
    cost         class of the dearest statistic that it reads
    fitness      NaN unless scored; `rho` a court and ratio
    same         with the reason `same_scores`, whose they are: a number, or minus one less a place among this step's
    """

    text: str
    genotype: str
    key: bytes
    opposite: bytes
    operator: str
    parents: tuple[int, ...]
    nodes: int
    cost: int
    fitness: float
    rho: tuple[float, ...]
    fingerprint: bytes
    reason: Reason

    @property
    def scored(self) -> bool:
        return self.reason is Reason.SCORED


@dataclass(frozen=True)
class Outcome:
    """What one step of one island did.

    candidates  new programs, in the order in which they were proposed
    members     the population after it: numbers, or -1 - i for the i-th candidate; fitness; genotype
    variants    genotypes that are other graphs and the same programs, with these programs' keys
    funnel      how many proposals came to which end
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
    """An outcome on its way."""

    candidates: list[Candidate] = field(default_factory=list)
    funnel: Counter[str] = field(default_factory=Counter)
    repeats: Counter[bytes] = field(default_factory=Counter)
    variants: list[tuple[bytes, str]] = field(default_factory=list)
    evaluated: int = 0

    def book(self, candidate: Candidate) -> int:
        """Notes a new program; returns its place."""
        self.candidates.append(candidate)
        self.funnel[candidate.reason] += 1
        return len(self.candidates) - 1

    def repeat(self, key: bytes, reason: Reason = Reason.SEEN) -> None:
        self.funnel[reason] += 1
        self.repeats[key] += 1

    def outcome(self, members: Sequence[Member]) -> Outcome:
        told = [(member.number, member.fitness, member.genotype) for member in members]
        return Outcome(
            self.candidates,
            told,
            self.variants,
            dict(self.funnel),
            dict(self.repeats),
            self.evaluated,
        )


def cost_of(program: Expr) -> int:
    """The class of the dearest statistic that a program reads, by its place among the classes."""
    return max((COSTS.index(INPUTS[name].cost) for name in inputs(program)), default=0)
