"""One step of the typed grammar's search on one island: offspring are proposed, screened, scored, and compete with their parents.

A step is a function of (settings, members, archive, island, step): whoever does it, the result is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random

import numpy as np

from emqlang.evolve.archive import Archive
from emqlang.evolve.arena import Arena
from emqlang.evolve.candidate import Candidate, Member, Outcome, Tally, cost_of
from emqlang.evolve.fitness import Combine, Score, score, signed
from emqlang.evolve.reasons import Reason
from emqlang.evolve.settings import Settings
from emqlang.evolve.typed.selection import standings, survivors, tournament
from emqlang.evolve.typed.variation import vary
from emqlang.grammar.canonical.form import Table, canonical
from emqlang.grammar.expr import Expr, elaborate, inputs
from emqlang.grammar.program import parse
from emqlang.grammar.text.printer import show

TRIES = 60  # proposals for each one that is to be scored: a space may be used up
FORMS = Table()  # canonical forms that this process knows; they change nothing but time


@dataclass(frozen=True)
class Proposal:
    """A program that has passed the screen."""

    program: Expr
    form: Expr
    operator: str
    parents: tuple[int, ...]


@lru_cache(20_000)
def read(text: str) -> Expr:
    """The expression of a member's text."""
    return parse(text).expr


def generator(seed: int, island: int, step: int) -> Random:
    """All that is random in one step of one island."""
    return Random(f"{seed} {island} {step}")


def step(
    settings: Settings,
    members: Sequence[Member],
    archive: Archive,
    arena: Arena,
    island: int,
    number: int,
) -> Outcome:
    """The population after one more step; from nothing, a random one."""
    random, tally = generator(settings.seed, island, number), Tally()
    proposals = _proposals(settings, members, archive, random, tally)
    scores = score(arena, [proposal.form for proposal in proposals], Combine(settings.combine))
    tally.evaluated = len(proposals)
    fresh = _booked(proposals, scores, archive, tally)
    return tally.outcome(select(settings, [*members, *fresh]))


def select(settings: Settings, members: Sequence[Member]) -> list[Member]:
    """Who is left; a program is in a population once."""
    distinct = list({member.number: member for member in members}.values())
    return [
        distinct[i]
        for i in survivors(_objectives(settings.selection, distinct), settings.population)
    ]


def _objectives(
    selection: str, members: Sequence[Member]
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """All to be small."""
    if selection == "fitness":
        return np.array([(-member.fitness,) for member in members]).reshape(-1, 1)
    return np.array(
        [(-member.fitness, member.nodes, member.cost) for member in members], np.float64
    ).reshape(-1, 3)


def _proposals(
    settings: Settings, members: Sequence[Member], archive: Archive, random: Random, tally: Tally
) -> list[Proposal]:
    """New programs, as many as a step scores; in a space that is nearly used up, fewer."""
    wanted = settings.offspring if members else settings.population
    propose = _proposer(settings, members, random)
    passed: list[Proposal] = []
    met: set[bytes] = set()
    for _ in range(TRIES * wanted):
        operator, parents, program = propose()
        form = canonical(elaborate(program), FORMS)
        if form.digest in archive.keys or form.digest in met:
            tally.repeat(form.digest)
            continue
        met.add(form.digest)
        proposal = Proposal(program, form, operator, parents)
        if not set(inputs(form)) - {"bits"}:
            tally.book(_rejected(proposal, Reason.CONSTANT))
            continue
        passed.append(proposal)
        if len(passed) == wanted:
            break
    return passed


def _proposer(
    settings: Settings, members: Sequence[Member], random: Random
) -> Callable[[], tuple[str, tuple[int, ...], Expr]]:
    space = settings.space
    ranked = standings(_objectives(settings.parents, members)) if members else []

    def propose() -> tuple[str, tuple[int, ...], Expr]:
        if not members or random.random() < settings.immigrants:
            return "random", (), space.program(random)
        chosen: list[Member] = []

        def choose() -> Expr:
            chosen.append(members[tournament(ranked, settings.tournament, random)])
            return read(chosen[-1].genotype)

        operator, parents, program = vary(space, random, choose, settings.operators)
        return operator, tuple(member.number for member in chosen[-len(parents) :]), program

    return propose


def _booked(
    proposals: Sequence[Proposal], scores: Sequence[Score], archive: Archive, tally: Tally
) -> list[Member]:
    """Notes what became of each; returns those that compete."""
    fresh: list[Member] = []
    prints: set[bytes] = set()
    for proposal, found in zip(proposals, scores, strict=True):
        reason = reason_of(found, archive, prints)
        prints.add(found.fingerprint)
        candidate = (
            _rejected(proposal, reason)
            if found.fitness != found.fitness
            else _judged(proposal, found, reason)
        )
        place = tally.book(candidate)
        if candidate.scored:
            fresh.append(
                Member(
                    -1 - place,
                    candidate.genotype,
                    candidate.fitness,
                    candidate.nodes,
                    candidate.cost,
                )
            )
    return fresh


def reason_of(found: Score, archive: Archive, prints: set[bytes]) -> Reason:
    """The rung of the ladder on which scores are caught."""
    if found.fitness != found.fitness:
        return Reason.OVERFLOW
    if not found.fingerprint:
        return Reason.INSENSITIVE
    if found.counts_bits:
        return Reason.COUNTS_BITS
    return (
        Reason.SAME_SCORES
        if found.fingerprint in archive.fingerprints or found.fingerprint in prints
        else Reason.SCORED
    )


def _judged(proposal: Proposal, found: Score, reason: Reason) -> Candidate:
    program = signed(proposal.program, found)
    keys = [
        canonical(elaborate(signed(proposal.program, replace(found, negative=side))), FORMS).digest
        for side in (False, True)
    ]
    text = show(program)
    return Candidate(
        text=text,
        genotype=text,
        key=keys[found.negative],
        opposite=keys[not found.negative],
        operator=proposal.operator,
        parents=proposal.parents,
        nodes=program.size,
        cost=cost_of(proposal.form),
        fitness=found.fitness,
        rho=found.rho,
        fingerprint=found.fingerprint,
        reason=reason,
    )


def _rejected(proposal: Proposal, reason: Reason) -> Candidate:
    text = show(proposal.program)
    return Candidate(
        text, text, proposal.form.digest, b"", proposal.operator, proposal.parents, proposal.program.size,
        cost_of(proposal.form), float("nan"), (), b"", reason,
    )  # fmt: skip
