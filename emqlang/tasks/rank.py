"""Proxies in the order of how well they rank a benchmark table's configurations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from emqlang.grammar.diagnostics import (
    EXIT_NOT_FINITE,
    EXIT_OK,
    Diagnostic,
    EmqError,
    error,
    nearest,
)
from emqlang.grammar.expr import inputs
from emqlang.grammar.inputs import Cost
from emqlang.grammar.library import LIBRARY
from emqlang.grammar.program import Program
from emqlang.quant.progress import Progress
from emqlang.quant.statistics.record import Kept
from emqlang.quant.statistics.table import Statistics
from emqlang.quant.tables.table import Table, load
from emqlang.scores.bootstrap import DRAWS, bootstrap
from emqlang.scores.correlation import (
    RATIOS,
    Array,
    By,
    at_top,
    paper_protocol,
    partial,
    parts,
    precision,
)
from emqlang.scores.pipeline import score
from emqlang.scores.ranks import kendall_tau
from emqlang.tasks.domains import cost, outside, reads_images, workbenches
from emqlang.tasks.truth import regrets, stratified, truth_of
from emqlang.tasks.workbench import ACTIVATION, Workbench, WorkbenchOptions

LEADERS = 3  # proxies that a ranking in a line names
SHELF = "baselines"  # the library's file of proxies that are in every ranking


@dataclass(frozen=True)
class RankOptions:
    """How proxies are ranked, in the words of the command line.

    split     'search' rows, 'heldout' ones, or 'all'
    by        ground truth: 'top1' or 'loss'
    topk_by   whether the best rows are the truly best ones, or those of each proxy's own score
    stratify  keep only rows in which layers whose own bits decide much have one width
    protocol  'rows': all of them, with bootstrap intervals; 'paper': mean and deviation of five
              draws of 50
    against   the name of the proxy to which all are compared
    """

    split: str = "all"
    by: str = "top1"
    topk_by: By = "truth"
    stratify: bool = False
    protocol: str = "rows"
    against: str = ""
    draws: int = DRAWS
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Standing:
    """One proxy on one table. Arrays have an entry for each of RATIOS.

    rho         Spearman's correlation; under the paper's protocol its mean over the draws
    low, high   of the 95 % interval; under the paper's protocol mean minus and plus deviation
    precision   the share of the truly best fifth that is among the proxy's best fifth
    partial     Spearman's correlation at fixed size
    regret      accuracy lost within size budgets by the rows that it prefers, in percentage points
    difference  (2, ratios): the interval of rho minus the other proxy's; None without one
    cost        the most expensive statistic's class
    seconds     to score all groups and choices, statistics in memory
    scores      (rows,) of the configurations
    images      that its statistics were taken on; None where it reads none
    seen        whether it was searched on some of these rows
    """

    program: Program
    rho: Array
    low: Array
    high: Array
    tau: float
    precision: float
    partial: float
    regret: float
    difference: Array | None
    cost: Cost
    seconds: float
    scores: Array
    images: int | None
    seen: bool

    @property
    def name(self) -> str:
        return self.program.name or self.program.text

    @property
    def fitness(self) -> float:
        return float(self.rho.mean())


@dataclass(frozen=True, eq=False)
class Ranking:
    """Proxies on one table, best first.

    table     the rows that they were ranked on
    strata    names of layers that were held fixed, and how
    data      the images that statistics were taken on, in words; empty if none were
    problems  why proxies were left out
    """

    table: Table
    options: RankOptions
    strata: Mapping[str, str]
    standings: tuple[Standing, ...]
    data: str
    notices: tuple[Diagnostic, ...]
    problems: tuple[Diagnostic, ...]


def _leaders(standings: Sequence[Standing]) -> str:
    """The first few and what they reach over all rows."""
    return ", ".join(f"{one.name[:24]} {one.rho[-1]:.3f}" for one in standings[:LEADERS])


@dataclass(frozen=True, eq=False)
class RankResult:
    """The rankings on several tables."""

    rankings: tuple[Ranking, ...]

    def __repr__(self) -> str:
        lines = [f"{one.table.name}: {_leaders(one.standings)}" for one in self.rankings]
        return "\n".join((f"RankResult({len(lines)} tables; the best by mean of the tops)", *lines))

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """Each once, table by table."""
        each = (one for table in self.rankings for one in (*table.notices, *table.problems))
        return tuple(dict.fromkeys(each))

    @property
    def exit_status(self) -> int:
        return EXIT_NOT_FINITE if any(table.problems for table in self.rankings) else EXIT_OK


def rank(
    programs: Sequence[Program],
    tables: Sequence[str],
    options: RankOptions,
    settings: WorkbenchOptions,
    progress: Progress | None = None,
) -> RankResult:
    """Ranks proxies, or the whole library, on tables by name or path.

    Raises E102 for `against`, E301, E314, E315, E406 for too few rows, and what statistics raise.
    """
    rankings = []
    for table in [load(name) for name in tables]:
        bench = Workbench.of_table(table, settings, progress)
        rankings.append(rank_on(table, bench, contenders(programs, table), options))
    return RankResult(tuple(rankings))


def plotted(
    programs: Sequence[Program],
    table: str,
    options: RankOptions,
    settings: WorkbenchOptions,
    progress: Progress | None = None,
) -> Ranking:
    """Proxies alone, without the baselines.

    Raises E403 without any, E501 where none has finite scores, and what `rank` does.
    """
    if not programs:
        raise error("E403", "there is no proxy to draw", "name one: `emqlang library` lists them")
    rows = load(table)
    ranking = rank_on(rows, Workbench.of_table(rows, settings, progress), programs, options)
    if not ranking.standings:
        raise EmqError(*ranking.problems)
    return ranking


def contenders(programs: Sequence[Program], table: Table) -> list[Program]:
    """The proxies to rank: those given and the trivial baselines, or the whole library.

    A menu of activation bits leaves out proxies of the library that read none.
    """
    joint = table.menu[0].act_bits is not None
    known = {program.name for program in programs}
    names = [name for name in LIBRARY if not programs or LIBRARY.shelf(name) == SHELF]
    library = [LIBRARY[name] for name in names if name not in known]
    return [*programs, *(p for p in library if not joint or p.elaborated.axes & ACTIVATION)]


def rank_on(
    table: Table, bench: Workbench, programs: Sequence[Program], options: RankOptions
) -> Ranking:
    """Ranks proxies on one table. Raises E406 if there are too few rows, E102 for `against`."""
    rows, strata = table.split(options.split), dict[str, str]()
    if options.stratify:
        rows, strata = stratified(rows)
    bench.check_menu(programs)
    benches = workbenches(bench, programs)
    statistics = _statistics(programs, benches)
    groups, tied = bench.facts.collection.groups, bench.options.tied
    kept, problems = list[_Scored](), list[Diagnostic]()
    for program, measured in zip(programs, benches, strict=True):
        began = perf_counter()
        (scored,) = score([program], statistics[measured], groups, tied)
        seconds = perf_counter() - began
        totals = scored.totals(rows.choices)
        if np.isfinite(totals).all():
            kept.append(_Scored(program, totals, seconds, measured))
        else:
            message = f"'{program.name or program.text}' has scores that are not finite"
            problems.append(Diagnostic("E501", message))
    sources = [one.bench.source(inputs(one.program.canonical)) for one in kept]
    collected = [notice for one in statistics.values() for notice in one.warnings]
    notices = (*bench.facts.warnings, *collected, *outside(programs, benches, table))
    return Ranking(
        table=rows,
        options=options,
        strata=strata,
        standings=tuple(_standings(rows, kept, options) if kept else ()),
        data="; ".join(dict.fromkeys(filter(None, sources))),
        notices=tuple(dict.fromkeys(notices)),
        problems=tuple(problems),
    )


def _statistics(
    programs: Sequence[Program], benches: Sequence[Workbench]
) -> dict[Workbench, Statistics | Kept]:
    """From each workbench those that its programs read."""
    names: dict[Workbench, dict[str, None]] = {}
    for program, bench in zip(programs, benches, strict=True):
        names.setdefault(bench, {}).update(dict.fromkeys(inputs(program.canonical)))
    return {bench: bench.kept(read) or bench.statistics(read) for bench, read in names.items()}


@dataclass(frozen=True, eq=False)
class _Scored:
    """A proxy with finite scores (rows,) of a table's configurations."""

    program: Program
    scores: Array
    seconds: float
    bench: Workbench


def _standings(table: Table, kept: Sequence[_Scored], options: RankOptions) -> list[Standing]:
    truth, generator = truth_of(table, options.by), np.random.default_rng(options.seed)
    scores, values = np.array([one.scores for one in kept]), truth.values
    strata, size = table.strata, table.size.astype(np.float64)
    each = parts(strata, len(table))
    reference = _reference([one.program for one in kept], options.against)
    differences: Array | None = None
    if options.protocol == "paper" and strata is not None:
        message = f"rows of '{table.name}' are ranked within its budgets"
        raise error("E403", f"{message}, and the paper's protocol draws 50 of all", "leave it out")
    if options.protocol == "paper":
        rho, deviation = paper_protocol(scores, values, generator, options.topk_by)
        low, high = rho - deviation, rho + deviation
    else:
        rho = np.array(
            [
                _mean([at_top(scores[:, r], values[r], ratio, options.topk_by) for r in each])
                for ratio in RATIOS
            ]
        )
        boot = bootstrap(scores, truth, generator, options.draws, RATIOS, options.topk_by, strata)
        low, high = boot.interval()
        differences = None if reference is None else boot.difference(reference)
    taus = _mean([kendall_tau(scores[:, r], values[r]) for r in each])
    shares = _mean([precision(scores[:, r], values[r], RATIOS[0]) for r in each])
    partials = _mean([partial(scores[:, r], values[r], size[r]) for r in each])
    lost = regrets(table, scores)
    standings = [
        Standing(
            program=one.program,
            rho=rho[:, i],
            low=low[:, i],
            high=high[:, i],
            tau=float(taus[i]),
            precision=float(shares[i]),
            partial=float(partials[i]),
            regret=float(lost[i]),
            difference=None if differences is None else differences[:, :, i],
            cost=cost(one.program),
            seconds=one.seconds,
            scores=one.scores,
            images=one.bench.options.images if reads_images(one.program) else None,
            seen=one.program.domain.has_seen(table.name, options.split),
        )
        for i, one in enumerate(kept)
    ]
    return sorted(standings, key=lambda standing: -standing.fitness)


def _mean(strata: Sequence[Array]) -> Array:
    """The mean over strata of arrays; the one array itself where there are none."""
    return strata[0] if len(strata) == 1 else np.mean(strata, axis=0)


def _reference(programs: Sequence[Program], name: str) -> int | None:
    """The place of the proxy to compare with. Raises E102."""
    if not name:
        return None
    names = [program.name or program.text for program in programs]
    if name not in names:
        message = f"'{name}' is not among the proxies that are ranked"
        raise error("E102", message, *nearest(name, names))
    return names.index(name)
