"""One iteration of the paper's search: Algorithm 1, with every part of it switchable.

Where the paper leaves something open, docs/search.md says what was chosen and why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b
from itertools import islice
from random import Random

import numpy as np

from emqlang.evolve.archive import Archive
from emqlang.evolve.arena import Arena, Benchmark
from emqlang.evolve.candidate import Candidate, Member, StepResult, Tally, cost_of
from emqlang.evolve.emq import formulas
from emqlang.evolve.emq.genes import Clash, Genes, Sampler, conflicts, program_of
from emqlang.evolve.emq.tables import score_tables
from emqlang.evolve.fitness import Combine, Score
from emqlang.evolve.reasons import Reason
from emqlang.evolve.settings import SearchSettings
from emqlang.grammar.canonical.form import Table, canonical
from emqlang.grammar.expr import Expr, elaborate
from emqlang.grammar.proof.graph import isomorphic, wl_hash
from emqlang.grammar.text.printer import show
from emqlang.scores.correlation import Array

RETRIES = 50  # of crossover and mutation, or of a draw, before an iteration goes without
PROBES = 4  # configurations whose scores tell that a proxy is invalid
INVALID = (-1.0, 0.0, 1.0)
FORMS = Table()  # canonical forms that this process knows

# An operator, the numbers of the parents, and what came of them.
Draw = tuple[str, tuple[int, ...], Genes]


@dataclass(frozen=True)
class Proposal:
    """Genes that were drawn, and the program that they stand for.

    program, form  None for what the language cannot say
    key            the canonical form's, or of the genes' text
    known          the program's number in the archive, 0 if it is new
    """

    genes: Genes
    program: Expr | None
    form: Expr | None
    key: bytes
    operator: str
    parents: tuple[int, ...]
    known: int


def remember(settings: SearchSettings, archive: Archive, genotypes: Iterable[str]) -> None:
    """Adds the graphs of programs to an archive."""
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
    settings: SearchSettings,
    members: Sequence[Member],
    archive: Archive,
    arena: Arena,
    island: int,
    number: int,
) -> StepResult:
    """One iteration; the first one draws a population."""
    random = settings.generator(island, number)
    iteration = Iteration(settings, archive, draw_rows(settings, arena, random), random)
    if not members:
        return iteration.tally.result(list(islice(iteration.newcomers(), settings.population)))
    offspring = iteration.offspring(members)
    population = [*members, *([offspring] if offspring else [])]
    population.sort(key=lambda member: -member.fitness)
    return iteration.tally.result(population[: settings.population])  # the worst leaves


def draw_rows(settings: SearchSettings, arena: Arena, random: Random) -> Arena:
    """The arena on the rows of this iteration: the same for all its contenders."""
    if not settings.rows:
        return arena
    draw = np.random.default_rng(random.getrandbits(64))
    benchmarks = [benchmark.sample(settings.rows, draw) for benchmark in arena.benchmarks]
    return replace(arena, benchmarks=benchmarks)


class Iteration:
    """The work of one iteration, and the tally of its proposals."""

    def __init__(
        self, settings: SearchSettings, archive: Archive, arena: Arena, random: Random
    ) -> None:
        self.settings, self.archive, self.arena, self.random = settings, archive, arena, random
        self.sampler = Sampler(
            settings.structure, settings.statistics, settings.aggregation, self.has("osp")
        )
        self.tally = Tally()
        self.graphs: dict[str, list[Expr]] = {}  # seen in this iteration
        self.numbers: dict[bytes, int] = {}  # key -> provisional number

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

    def newcomers(self) -> Iterator[Member]:
        """A random population, as far as it can be drawn."""
        for _ in range(RETRIES * self.settings.population):
            member = self.newcomer()
            if member is not None:
                yield member

    def newcomer(self) -> Member | None:
        return self._first(lambda: ("random", (), self.sampler.draw(self.random)))

    def _breeder(self, parents: Sequence[Member]) -> Callable[[], Draw]:
        mother, father = (Genes.from_text(member.genotype) for member in parents)
        numbers = tuple(member.number for member in parents)

        def breed() -> Draw:
            genes, operators, used = mother, list[str](), numbers[:1]
            if self.random.random() < self.settings.crossover:
                genes, used = self.sampler.cross(self.random, genes, father), numbers
                operators.append("crossover")
            if self.random.random() < self.settings.mutation:
                genes = self.sampler.mutate(self.random, genes)
                operators.append("mutation")
            return "+".join(operators) or "copy", used, genes

        return breed

    def _first(self, draw: Callable[[], Draw]) -> Member | None:
        """The first that passes the screen, scored; None if none does."""
        for _ in range(RETRIES):
            proposal = self._screened(*draw())
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
        key = blake2b(text.encode(), digest_size=16).digest() if form is None else form.digest
        known = self.archive.keys.get(key, 0)
        proposal = Proposal(genes, program, form, key, operator, parents, known)
        if self.has("conflicts") and conflicts(genes):
            self._reject(proposal, Reason.CONFLICT)
        elif self.has("equivalence") and self._seen(proposal):
            self.tally.repeat(key)
        else:
            return proposal
        return None

    def _seen(self, proposal: Proposal) -> bool:
        """Whether an isomorphic graph has been seen, by Weisfeiler-Lehman hash; notes a new one."""
        if proposal.program is None:
            return self._known(proposal)
        graph = elaborate(proposal.program)
        hashed = wl_hash(graph)
        alike = [*self.archive.graphs.get(hashed, ()), *self.graphs.get(hashed, ())]
        if any(isomorphic(graph, other) for other in alike):
            return True
        self.graphs.setdefault(hashed, []).append(graph)
        return False

    def _known(self, proposal: Proposal) -> bool:
        return bool(proposal.known) or proposal.key in self.numbers

    def _scored(self, proposal: Proposal) -> Member | None:
        """Evaluated, rejected early if its scores say nothing, and else ranked."""
        tables = self._tables(proposal)
        self.tally.evaluated += 1
        (score,) = score_tables(self.arena, tables, Combine(self.settings.combine))
        reason = self._reason(tables, score)
        if reason is not Reason.SCORED:
            self._reject(proposal, reason)
            return None
        candidate = _candidate(proposal, reason, score)
        number = self._add(proposal, candidate)
        return Member(number, candidate.genotype, score.fitness, candidate.nodes, candidate.cost)

    def _tables(self, proposal: Proposal) -> list[Array]:
        if self.settings.semantics == "protected":
            assert proposal.form is not None
            return self.arena.tables([proposal.form])
        return [
            weighted(benchmark, formulas.values(proposal.genes, benchmark))[None]
            for benchmark in self.arena.benchmarks
        ]

    def _reason(self, tables: Sequence[Array], score: Score) -> Reason:
        """Sensitivity perception and the naive invalid check."""
        pairs = zip(self.arena.benchmarks, tables, strict=True)
        if self.has("invalid") and any(invalid(benchmark, table[0]) for benchmark, table in pairs):
            return Reason.INVALID
        if not score.finite:
            return Reason.OVERFLOW
        if self.has("sensitivity") and not score.fingerprint:
            return Reason.INSENSITIVE
        if self.has("sensitivity") and score.counts_bits:
            return Reason.COUNTS_BITS
        return Reason.SCORED

    def _reject(self, proposal: Proposal, reason: Reason) -> None:
        if self._known(proposal):
            self.tally.repeat(proposal.key, reason)
        else:
            self.numbers[proposal.key] = self.tally.add(_candidate(proposal, reason))

    def _add(self, proposal: Proposal, candidate: Candidate) -> int:
        """The program's number. A known program with a new graph is noted as a variant."""
        if not self._known(proposal):
            self.numbers[proposal.key] = self.tally.add(candidate)
            return self.numbers[proposal.key]
        self.tally.repeat(proposal.key, Reason.UNTOLD)
        self.tally.variants.append((proposal.key, candidate.genotype))
        return proposal.known or self.numbers[proposal.key]


def _candidate(proposal: Proposal, reason: Reason, score: Score | None = None) -> Candidate:
    genotype = proposal.genes.as_text()
    if proposal.program is None or proposal.form is None:
        text, nodes, cost = genotype, len(proposal.genes.unary) + 2, 0
    else:
        program = proposal.program
        text, nodes, cost = show(program), program.size, cost_of(proposal.form)
    candidate = Candidate(
        text=text,
        genotype=genotype,
        key=proposal.key,
        operator=proposal.operator,
        parents=proposal.parents,
        nodes=nodes,
        cost=cost,
        reason=reason,
    )
    if score is None:
        return candidate
    return replace(candidate, fitness=score.fitness, rho=score.rho, fingerprint=score.fingerprint)


def weighted(benchmark: Benchmark, values: Array) -> Array:
    """S (groups, choices) of a sensitivity Q (layers,) of groups' main layers, by Eq. 3."""
    return np.array([values[group.main] * benchmark.bits for group in benchmark.groups])


def invalid(benchmark: Benchmark, scores: Array) -> bool:
    """The naive invalid check: each group's Q, or each probe's score, is -1, 0, 1, nan or inf."""
    probes = scores[np.arange(len(benchmark.groups)), benchmark.choices[:PROBES]].sum(-1)
    return _all_invalid(scores[:, 0] / benchmark.bits[0]) or _all_invalid(probes)


def _all_invalid(values: Array) -> bool:
    return bool((np.isin(values, INVALID) | ~np.isfinite(values)).all())
