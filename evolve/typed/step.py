"""One step of the typed grammar's search on one island.

Offspring are proposed, screened and scored, and compete with their parents.

A step is a function of (settings, members, archive, arena, island, number), wherever it runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random

import numpy as np
from numpy.typing import NDArray

from emqlang.evolve.archive import Archive
from emqlang.evolve.arena import Arena
from emqlang.evolve.candidate import Candidate, Member, StepResult, Tally, cost_of
from emqlang.evolve.fitness import Combine, Score, score, signed
from emqlang.evolve.reasons import Reason
from emqlang.evolve.settings import SearchSettings
from emqlang.evolve.typed.selection import pareto_ranks, survivors, tournament
from emqlang.evolve.typed.variation import vary
from emqlang.grammar.canonical.form import Table, key, whole
from emqlang.grammar.expr import Expr, elaborate, inputs
from emqlang.grammar.program import parse
from emqlang.grammar.text.printer import show

LARGE = sys.maxsize
TRIES = 60  # proposals for each one that is to be scored: a space may be used up
FORMS = Table()  # canonical forms that this process knows; they change nothing but time


@dataclass(frozen=True)
class Proposal:
    """A new program, its canonical form, and how it was made."""

    program: Expr
    form: Expr
    operator: str
    parents: tuple[int, ...]


@lru_cache(20_000)
def read(text: str) -> Expr:
    """The expression of a member's text."""
    return parse(text).expr


def step(
    settings: SearchSettings,
    members: Sequence[Member],
    archive: Archive,
    arena: Arena,
    island: int,
    number: int,
) -> StepResult:
    """The population after one more step; the first one is random."""
    random, tally = settings.generator(island, number), Tally()
    proposals = _proposals(settings, members, archive, random, tally)
    scores = score(arena, [proposal.form for proposal in proposals], Combine(settings.combine))
    tally.evaluated = len(proposals)
    competitors = _competitors(proposals, scores, archive, tally)
    return tally.result(select(settings, [*members, *competitors]))


def select(settings: SearchSettings, members: Sequence[Member]) -> list[Member]:
    """Those who survive; a program is in a population once."""
    distinct = list({member.number: member for member in members}.values())
    objectives = _objectives(settings.selection, distinct)
    return [distinct[i] for i in survivors(objectives, settings.population)]


def _objectives(selection: str, members: Sequence[Member]) -> NDArray[np.float64]:
    """(members, objectives), all to be small."""
    rows = [(-member.fitness, member.nodes, member.cost) for member in members]
    objectives = np.array(rows, np.float64).reshape(-1, 3)
    return objectives[:, :1] if selection == "fitness" else objectives


def _proposals(
    settings: SearchSettings,
    members: Sequence[Member],
    archive: Archive,
    random: Random,
    tally: Tally,
) -> list[Proposal]:
    """New programs, as many as a step scores; fewer in a space that is nearly used up."""
    wanted = settings.offspring if members else settings.population
    propose = _proposer(settings, members, random)
    accepted: list[Proposal] = []
    keys: set[bytes] = set()
    for _ in range(TRIES * wanted):
        operator, parents, program = propose()
        form = whole(elaborate(program), FORMS)
        if form.digest in archive.keys or form.digest in keys:
            tally.repeat(form.digest)
            continue
        keys.add(form.digest)
        proposal = Proposal(program, form, operator, parents)
        if not set(inputs(form)) - {"bits"}:
            tally.add(_candidate(proposal, Reason.CONSTANT))
            continue
        accepted.append(proposal)
        if len(accepted) == wanted:
            break
    return accepted


def _proposer(
    settings: SearchSettings, members: Sequence[Member], random: Random
) -> Callable[[], tuple[str, tuple[int, ...], Expr]]:
    """Draws an operator, the numbers of the parents, and their offspring."""
    space = settings.space
    ranks = pareto_ranks(_objectives(settings.parents, members)) if members else []

    def propose() -> tuple[str, tuple[int, ...], Expr]:
        if not members or random.random() < settings.immigrants:
            return "random", (), space.program(random)
        chosen: list[Member] = []

        def choose() -> Expr:
            chosen.append(members[tournament(ranks, settings.tournament, random)])
            return read(chosen[-1].genotype)

        operator, parents, program = vary(space, random, choose, settings.operators)
        return operator, tuple(member.number for member in chosen[-len(parents) :]), program

    return propose


def _competitors(
    proposals: Sequence[Proposal], scores: Sequence[Score], archive: Archive, tally: Tally
) -> list[Member]:
    """Notes what became of each proposal; returns those that compete for survival."""
    competitors: list[Member] = []
    sizes: dict[bytes, int] = {}  # of this step
    for proposal, scored in zip(proposals, scores, strict=True):
        nodes = signed(proposal.program, scored.negative).size
        least = min(each.get(scored.fingerprint, LARGE) for each in (archive.sizes, sizes))
        reason = _reason(scored, least <= nodes)
        sizes[scored.fingerprint] = min(least, nodes)
        candidate = _candidate(proposal, reason, scored if scored.finite else None)
        number = tally.add(candidate)
        if reason is Reason.SCORED:
            competitors.append(
                Member(number, candidate.text, candidate.fitness, candidate.nodes, candidate.cost)
            )
    return competitors


def _reason(scored: Score, known: bool) -> Reason:
    """Why a program's scores do not count, if they do not; `known` by one that is no larger."""
    if not scored.finite:
        return Reason.OVERFLOW
    if not scored.fingerprint:
        return Reason.INSENSITIVE
    if scored.counts_bits:
        return Reason.COUNTS_BITS
    return Reason.SAME_SCORES if known else Reason.SCORED


def _candidate(proposal: Proposal, reason: Reason, scored: Score | None = None) -> Candidate:
    """The record of a proposal; one that was scored has the sign that its fitness is of."""
    program = proposal.program if scored is None else signed(proposal.program, scored.negative)
    text = show(program)
    candidate = Candidate(
        text=text,
        genotype=text,
        key=proposal.form.digest,
        operator=proposal.operator,
        parents=proposal.parents,
        nodes=program.size,
        cost=cost_of(proposal.form),
        reason=reason,
    )
    if scored is None:
        return candidate
    return replace(
        candidate,
        key=key(signed(proposal.program, scored.negative), FORMS),
        opposite=key(signed(proposal.program, not scored.negative), FORMS),
        fitness=scored.fitness,
        rho=scored.rho,
        fingerprint=scored.fingerprint,
    )
