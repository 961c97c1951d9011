"""Table 3: how many random programs of each structure are valid, and why the others are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType

import numpy as np

from emqlang.evolve.arena import Arena, Court
from emqlang.evolve.emq import formulas as unprotected
from emqlang.evolve.emq import step as emq
from emqlang.evolve.emq.genes import Clash, Genes, Sampler, program_of
from emqlang.evolve.emq.step import INVALID, weighted
from emqlang.evolve.settings import STRUCTURES, Settings, papers
from emqlang.experiments.trial import Result, Trial
from emqlang.grammar.canonical.form import canonical
from emqlang.grammar.expr import Expr, elaborate
from emqlang.scores.correlation import Array
from emqlang.tasks.arenas import ArenaDoor
from emqlang.tasks.evolve import door_of
from emqlang.views.evolve import Judged

TYPED = "typed grammar"
PRIORITISED = ", prioritised"
VARIANTS = (*(f"{structure}{how}" for structure in STRUCTURES for how in ("", PRIORITISED)), TYPED)
# Table 3 of the paper, in shares.
PAPER: Mapping[str, float] = MappingProxyType(
    dict(zip(VARIANTS, (0.4170, 0.4585, 0.2640, 0.3645, 0.0540, 0.0650), strict=False))
)
VALID, CLASH, NOT_FINITE, TRIVIAL = "valid", "clash", "not finite", "trivial"


def trial(given: Trial) -> Result:
    """Shares of `size` random programs by what they come to: under the authors' formulas, and under the language's."""
    random = Random(f"validity {given.variant} {given.seed}")
    if given.variant == TYPED:
        return _typed(given, random)
    structure, _, how = given.variant.partition(",")
    sampler = Sampler(structure, emq.INPUTS, prioritised=bool(how))
    paper, _ = doors(given.judged)
    arena = paper.open()
    drawn = [sampler.draw(random) for _ in range(given.size)]
    counts = {
        source: Counter(judge(genes, arena.courts[0], arena) for genes in drawn)
        for source, judge in _JUDGES.items()
    }
    return Result(_shares(counts, given.size))


def doors(judged: Judged) -> tuple[ArenaDoor, ArenaDoor]:
    """To the paper's statistics, and to those of the typed grammar."""
    return door_of(papers(), judged), door_of(Settings(), judged)


def _typed(given: Trial, random: Random) -> Result:
    _, whole = doors(given.judged)
    arena = whole.open()
    fates = Counter(_of_program(Settings().space.program(random), arena) for _ in range(given.size))
    return Result(_shares({"ours": fates}, given.size))


def _shares(counts: Mapping[str, Counter[str]], size: int) -> dict[str, float]:
    fates = (VALID, CLASH, NOT_FINITE, TRIVIAL)
    return {
        f"{fate}, {source}": own[fate] / size for source, own in counts.items() for fate in fates
    }


def _by_paper(genes: Genes, court: Court, arena: Arena) -> str:
    """By the authors' formulas: what torch refuses, what is not finite, and scores that are -1, 0 or 1."""
    if unprotected.refused(genes, court):
        return CLASH
    return _fate(court, weighted(court, unprotected.values(genes, court)))


def _by_ours(genes: Genes, court: Court, arena: Arena) -> str:
    try:
        return _of_program(program_of(genes, reduce_first=True), arena)
    except Clash:
        return CLASH


def _of_program(program: Expr, arena: Arena) -> str:
    return _fate(arena.courts[0], arena.tables([canonical(elaborate(program))])[0][0])


def _fate(court: Court, scores: Array) -> str:
    """By S (groups, choices) on the court's first configuration."""
    if not np.isfinite(scores).all():
        return NOT_FINITE
    return TRIVIAL if scores[np.arange(len(scores)), court.choices[0]].sum() in INVALID else VALID


_JUDGES: Mapping[str, Callable[[Genes, Court, Arena], str]] = MappingProxyType({
    "paper": _by_paper,
    "ours": _by_ours,
})  # fmt: skip
