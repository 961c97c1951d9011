"""Table 3: how many random programs of each structure are valid, and why the others are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Final

import numpy as np

from emqlang.evolve.arena import Arena
from emqlang.evolve.emq import formulas
from emqlang.evolve.emq.genes import Clash, Genes, Sampler, program_of
from emqlang.evolve.emq.step import INVALID, weighted
from emqlang.evolve.settings import (
    PAPER_INPUTS,
    STRUCTURES,
    EvaluationOptions,
    SearchSettings,
    paper_settings,
)
from emqlang.experiments.trial import Result, Trial
from emqlang.grammar.canonical.form import whole
from emqlang.grammar.expr import Expr, elaborate
from emqlang.tasks.evolve import TableArena

TYPED = "typed grammar"
PRIORITISED = ", prioritised"
VARIANTS = (*(f"{structure}{how}" for structure in STRUCTURES for how in ("", PRIORITISED)), TYPED)
_SHARES = (0.4170, 0.4585, 0.2640, 0.3645, 0.0540, 0.0650)
PAPER: Final[Mapping[str, float]] = dict(zip(VARIANTS, _SHARES, strict=False))  # its Table 3
VALID, CLASH, NOT_FINITE, TRIVIAL = "valid", "clash", "not finite", "trivial"


def check(trial: Trial) -> Result:
    """Shares of `size` random programs by fate, under the authors' formulas and the language's."""
    random = Random(f"validity {trial.variant} {trial.seed}")
    paper, typed = sources(trial.options)
    if trial.variant == TYPED:
        arena, space = typed.open(), SearchSettings().space
        fates = Counter(_of_program(space.program(random), arena) for _ in range(trial.size))
        return Result(_shares({"ours": fates}, trial.size))
    structure, _, how = trial.variant.partition(",")
    sampler = Sampler(structure, PAPER_INPUTS, prioritised=bool(how))
    arena = paper.open()
    programs = [sampler.draw(random) for _ in range(trial.size)]
    counts = {
        name: Counter(fate(genes, arena) for genes in programs) for name, fate in _FATES.items()
    }
    return Result(_shares(counts, trial.size))


def sources(
    options: EvaluationOptions, chosen: Sequence[str] = ()
) -> tuple[TableArena, TableArena]:
    """Arenas with the paper's statistics, and with those of the typed grammar, for any variant."""
    return TableArena.of(paper_settings(), options), TableArena.of(SearchSettings(), options)


def _shares(counts: Mapping[str, Counter[str]], size: int) -> dict[str, float]:
    fates = (VALID, CLASH, NOT_FINITE, TRIVIAL)
    return {
        f"{fate}, {name}": count[fate] / size for name, count in counts.items() for fate in fates
    }


def _by_paper(genes: Genes, arena: Arena) -> str:
    """By the authors' formulas: what torch refuses, what is not finite, and -1, 0 or 1."""
    benchmark = arena.benchmarks[0]
    if formulas.refused(genes, benchmark):
        return CLASH
    scores = weighted(benchmark, formulas.values(genes, benchmark))
    total = scores[np.arange(len(scores)), benchmark.choices[0]].sum()
    return _fate(total if np.isfinite(scores).all() else np.nan)


def _by_ours(genes: Genes, arena: Arena) -> str:
    try:
        return _of_program(program_of(genes), arena)
    except Clash:
        return CLASH


def _of_program(program: Expr, arena: Arena) -> str:
    return _fate(float(arena.score([whole(elaborate(program))])[0][0, 0]))


def _fate(total: float) -> str:
    """By the score of the benchmark's first configuration."""
    if not np.isfinite(total):
        return NOT_FINITE
    return TRIVIAL if total in INVALID else VALID


_FATES: Final[Mapping[str, Callable[[Genes, Arena], str]]] = {"paper": _by_paper, "ours": _by_ours}
