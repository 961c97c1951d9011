"""One iteration of the paper's search: Algorithm 1, with every part of it switchable.

Where the paper leaves something open, docs/search.md says what was chosen and why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b
from random import Random

import numpy as np

from emqlang.evolve.archive import Archive
from emqlang.evolve.arena import Arena, Court
from emqlang.evolve.candidate import Candidate, Member, Outcome, Tally, cost_of
from emqlang.evolve.emq import formulas as unprotected
from emqlang.evolve.emq.genes import Clash, Genes, Sampler, conflicts, program_of
from emqlang.evolve.fitness import Combine, Score, judge, signed
from emqlang.evolve.reasons import Reason
from emqlang.evolve.settings import Settings
from emqlang.evolve.typed.step import generator
from emqlang.grammar.canonical.form import Table, canonical
from emqlang.grammar.expr import Expr, elaborate
from emqlang.grammar.proof.graph import isomorphic, wl_hash
from emqlang.grammar.text.printer import show
from emqlang.scores.correlation import Array

RETRIES = 50  # of crossover and mutation, or of a draw, before an iteration goes without
PROBES = 4  # configurations whose scores tell that a proxy is invalid
INVALID = (-1.0, 0.0, 1.0)
INPUTS = ("act", "w", "grad", "grad_synflow", "hess")
FORMS = Table()


@dataclass(frozen=True)
class Proposal:
    """Genes that have passed the screen; `program` and `form` are None for what the language cannot say."""

    genes: Genes
    program: Expr | None
    form: Expr | None
    key: bytes
    operator: str
    parents: tuple[int, ...]
    known: int  # the program's number in the archive, 0 if it is new


def sampler(settings: Settings) -> Sampler:
    """Of genes over the paper's inputs (activation, weight, gradients, Hessian), unless others are named."""
    return Sampler(
        settings.structure,
        settings.inputs or INPUTS,
        settings.aggregation,
        "osp" not in settings.without,
    )


def remember(settings: Settings, archive: Archive, genotypes: Iterable[str]) -> None:
    """Adds programs to the graphs that are known."""
    for text in genotypes:
        program = _program(text, settings.reduce_first)
        if program is not None:
            graph = elaborate(program)
            archive.graphs.setdefault(wl_hash(graph), []).append(graph)


@lru_cache(10_000)
def _program(text: str, reduce_first: bool) -> Expr | None:
    try:
        return program_of(Genes.from_text(text), reduce_first)
    except Clash:
        return None


def step(
    settings: Settings,
    members: Sequence[Member],
    archive: Archive,
    arena: Arena,
    island: int,
    number: int,
) -> Outcome:
    """One iteration; from nothing, the first population."""
    random = generator(settings.seed, island, number)
    work = _Iteration(settings, archive, _drawn(settings, arena, random), random)
    if not members:
        found = (work.newcomer() for _ in range(RETRIES * settings.population))
        population: list[Member] = []
        for member in found:
            if member is not None:
                population.append(member)
            if len(population) == settings.population:
                break
        return work.tally.outcome(population)
    offspring = work.offspring(members)
    population = sorted(
        [*members, *([offspring] if offspring else [])], key=lambda m: -m.fitness
    )  # the worst leaves
    return work.tally.outcome(population[: settings.population])


def _drawn(settings: Settings, arena: Arena, random: Random) -> Arena:
    """The arena on the rows of this iteration: the same draw for all its contenders."""
    if not settings.rows:
        return arena
    draw = np.random.default_rng(random.getrandbits(64))
    return replace(arena, courts=[court.sample(settings.rows, draw) for court in arena.courts])


class _Iteration:
    def __init__(self, settings: Settings, archive: Archive, arena: Arena, random: Random) -> None:
        self.settings, self.archive, self.arena, self.random = settings, archive, arena, random
        self.sampler, self.tally = sampler(settings), Tally()
        self.graphs: dict[str, list[Expr]] = {}  # of this iteration
        self.places: dict[bytes, int] = {}  # key -> place among the candidates

    def has(self, part: str) -> bool:
        return part not in self.settings.without

    def offspring(self, members: Sequence[Member]) -> Member | None:
        """The mutant, or the random newcomer if that is better: diversity-prompting selection."""
        if not self.has("evolution"):
            return self.newcomer()
        settings, random = self.settings, self.random
        pool = random.sample(list(members), max(2, round(settings.ratio * len(members))))
        best = sorted(pool, key=lambda member: -member.fitness)[: max(2, settings.topk)]
        mutant = self._first(self._breeder(random.sample(best, 2)))
        newcomer = self.newcomer() if self.has("dps") else None
        both = [member for member in (mutant, newcomer) if member is not None]
        return max(both, key=lambda member: member.fitness, default=None)  # of equals, the mutant

    def newcomer(self) -> Member | None:
        return self._first(lambda: ("random", (), self.sampler.draw(self.random)))

    def _breeder(
        self, parents: Sequence[Member]
    ) -> Callable[[], tuple[str, tuple[int, ...], Genes]]:
        mother, father = (Genes.from_text(member.genotype) for member in parents)
        numbers = tuple(member.number for member in parents)

        def breed() -> tuple[str, tuple[int, ...], Genes]:
            settings, genes, done = self.settings, mother, []
            if self.random.random() < settings.crossover:
                genes, done = self.sampler.cross(self.random, genes, father), ["crossover"]
            if self.random.random() < settings.mutation:
                genes, done = self.sampler.mutate(self.random, genes), [*done, "mutation"]
            return "+".join(done) or "copy", numbers if "crossover" in done else numbers[:1], genes

        return breed

    def _first(self, propose: Callable[[], tuple[str, tuple[int, ...], Genes]]) -> Member | None:
        """The first proposal that passes the screen, scored; None if none does."""
        for _ in range(RETRIES):
            proposal = self._screened(*propose())
            member = None if proposal is None else self._scored(proposal)
            if member is not None:
                return member
        return None

    def _screened(self, operator: str, parents: tuple[int, ...], genes: Genes) -> Proposal | None:
        """What can be said before anything is evaluated: kinds, conflicts, equivalence."""
        text = genes.as_text()
        program = _program(text, self.settings.reduce_first)
        if program is None and self.settings.semantics == "protected":
            self.tally.funnel[Reason.KINDS] += 1
            return None
        form = None if program is None else canonical(elaborate(program), FORMS)
        digest = blake2b(text.encode(), digest_size=16).digest() if form is None else form.digest
        proposal = Proposal(
            genes, program, form, digest, operator, parents, self.archive.keys.get(digest, 0)
        )
        if self.has("conflicts") and conflicts(genes):
            self._reject(proposal, Reason.CONFLICT)
        elif self.has("equivalence") and self._met(proposal):
            self.tally.repeat(digest)
        else:
            return proposal
        return None

    def _met(self, proposal: Proposal) -> bool:
        """Whether an isomorphic program has been seen, found by its Weisfeiler-Lehman hash alone; if not, it has been now."""
        if proposal.program is None:
            return bool(proposal.known) or proposal.key in self.places
        graph = elaborate(proposal.program)
        found = wl_hash(graph)
        alike = [*self.archive.graphs.get(found, ()), *self.graphs.get(found, ())]
        if any(isomorphic(graph, other) for other in alike):
            return True
        self.graphs.setdefault(found, []).append(graph)
        return False

    def _scored(self, proposal: Proposal) -> Member | None:
        """Evaluated, rejected early if its scores say nothing, and else ranked."""
        tables = self._tables(proposal)
        self.tally.evaluated += 1
        (found,) = judge(self.arena, tables, Combine(self.settings.combine), either_sign=False)
        reason = self._reason(tables, found)
        if reason is not Reason.SCORED:
            self._reject(proposal, reason)
            return None
        candidate = self._candidate(proposal, found, reason)
        number = self._book(proposal, candidate)
        return Member(number, candidate.genotype, found.fitness, candidate.nodes, candidate.cost)

    def _tables(self, proposal: Proposal) -> list[Array]:
        if self.settings.semantics == "protected":
            assert proposal.form is not None
            return self.arena.tables([proposal.form])
        return [
            weighted(court, unprotected.values(proposal.genes, court))[None]
            for court in self.arena.courts
        ]

    def _reason(self, tables: Sequence[Array], found: Score) -> Reason:
        """Sensitivity perception and the naive invalid check."""
        if self.has("invalid") and any(
            invalid(court, table[0]) for court, table in zip(self.arena.courts, tables, strict=True)
        ):
            return Reason.INVALID
        if found.fitness != found.fitness:
            return Reason.OVERFLOW
        if self.has("sensitivity") and not found.fingerprint:
            return Reason.INSENSITIVE
        return (
            Reason.COUNTS_BITS if self.has("sensitivity") and found.counts_bits else Reason.SCORED
        )

    def _reject(self, proposal: Proposal, reason: Reason) -> None:
        if proposal.known or proposal.key in self.places:
            self.tally.repeat(proposal.key, reason)
        else:
            self.places[proposal.key] = self.tally.book(self._candidate(proposal, None, reason))

    def _book(self, proposal: Proposal, candidate: Candidate) -> int:
        """The program's number, or -1 less its place. One that the rules know and its graph did not tell is a variant."""
        if not proposal.known and proposal.key not in self.places:
            self.places[proposal.key] = self.tally.book(candidate)
            return -1 - self.places[proposal.key]
        self.tally.repeat(proposal.key, Reason.UNTOLD)
        self.tally.variants.append((proposal.key, candidate.genotype))
        return proposal.known or -1 - self.places[proposal.key]

    def _candidate(self, proposal: Proposal, found: Score | None, reason: Reason) -> Candidate:
        genotype = proposal.genes.as_text()
        if proposal.program is None or proposal.form is None:
            text, nodes, cost = genotype, len(proposal.genes.unary) + 2, 0
        else:
            program = proposal.program if found is None else signed(proposal.program, found)
            text, nodes, cost = show(program), program.size, cost_of(proposal.form)
        return Candidate(
            text, genotype, proposal.key, b"", proposal.operator, proposal.parents, nodes, cost,
            float("nan") if found is None else found.fitness, () if found is None else found.rho,
            b"" if found is None else found.fingerprint, reason,
        )  # fmt: skip


def weighted(court: Court, values: Array) -> Array:
    """S (groups, choices) of a sensitivity Q (layers,), weighted by bits: Eq. 3. A group has its main layer's."""
    bits = np.array([float(choice.weight_bits) for choice in court.statistics.choices])
    return np.array([values[group.main] * bits for group in court.groups])


def invalid(court: Court, scores: Array) -> bool:
    """The naive invalid check: every group's Q, or the score of every probe, is one of -1, 0, 1, nan and inf."""
    bits = float(court.statistics.choices[0].weight_bits)
    probes = scores[np.arange(len(court.groups)), court.choices[:PROBES]].sum(-1)
    return _all_invalid(scores[:, 0] / bits) or _all_invalid(probes)


def _all_invalid(values: Array) -> bool:
    return bool((np.isin(values, INVALID) | ~np.isfinite(values)).all())
