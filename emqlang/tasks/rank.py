"""Proxies in the order of how well they rank a benchmark table's configurations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from emqlang.grammar.diagnostics import EXIT_NOT_FINITE, EXIT_OK, Diagnostic, error, nearest
from emqlang.grammar.expr import inputs
from emqlang.grammar.inputs import INPUTS, Cost
from emqlang.grammar.library import LIBRARY
from emqlang.grammar.program import Program
from emqlang.quant.tables.table import Table
from emqlang.scores.bootstrap import DRAWS, bootstrap
from emqlang.scores.correlation import (
    RATIOS,
    Array,
    By,
    at_top,
    kendall,
    paper_protocol,
    partial,
    precision,
)
from emqlang.scores.table import tabulate
from emqlang.tasks.truth import stratified, truth_of
from emqlang.tasks.workbench import ACTIVATION, Workbench

SHELF = "baselines"  # the library's file of proxies that stand in every ranking
COSTS = tuple(Cost)


@dataclass(frozen=True)
class Terms:
    """How proxies are judged, in the words of the command line.

    split     'search' rows, 'heldout' ones, or 'all'
    by        what is true: 'top1' or 'loss'
    topk_by   whether the best rows are the truly best ones, or those of each proxy's own score
    stratify  rows are kept in which layers whose own bits decide much have one width
    protocol  'rows': all of them, with bootstrap intervals; 'paper': mean and deviation over five draws of 50
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
    low, high   of the 95 % interval; under the paper's protocol the mean less and plus the deviation
    precision   the share of the truly best fifth that is among the proxy's best fifth
    partial     Spearman's correlation at fixed size
    difference  (2, ratios): the interval of rho minus that of the proxy compared to; None where there is none
    cost        the dearest statistic's class
    seconds     to score all groups and choices, statistics in memory
    scores      (rows,) of the configurations
    """

    program: Program
    rho: Array
    low: Array
    high: Array
    tau: float
    precision: float
    partial: float
    difference: Array | None
    cost: Cost
    seconds: float
    scores: Array

    @property
    def name(self) -> str:
        return self.program.name or self.program.text

    @property
    def fitness(self) -> float:
        return float(self.rho.mean())


@dataclass(frozen=True, eq=False)
class Standings:
    """Best first. `strata` names the layers that were held fixed, and how; `problems` are of proxies left out."""

    table: Table
    terms: Terms
    strata: Mapping[str, str]
    standings: tuple[Standing, ...]
    data: str
    notices: tuple[Diagnostic, ...]
    problems: tuple[Diagnostic, ...]

    @property
    def exit_status(self) -> int:
        return EXIT_NOT_FINITE if self.problems else EXIT_OK


def contenders(given: Sequence[Program], table: Table) -> list[Program]:
    """The proxies to rank: those given and the trivial baselines, or the whole library where none is given.

    Of the library, only what a table's menu can be asked: one that chooses activation bits says nothing to most.
    """
    joint = table.menu[0].act_bits is not None
    names = [name for name in LIBRARY if not given or LIBRARY.shelf(name) == SHELF]
    own = [
        LIBRARY[name] for name in names if not joint or LIBRARY[name].elaborated.axes & ACTIVATION
    ]
    known = {program.name for program in given}
    return [*given, *(program for program in own if program.name not in known)]


def judge(table: Table, bench: Workbench, programs: Sequence[Program], terms: Terms) -> Standings:
    """Ranks the proxies on a table. Raises E406 where there are too few rows, E102 for `against`."""
    rows, strata = table.split(terms.split), dict[str, str]()
    if terms.stratify:
        rows, strata = stratified(rows)
    bench.check_menu(programs)
    statistics = bench.statistics(inputs(*(program.canonical for program in programs)))
    kept, scores, seconds, problems = (
        list[Program](),
        list[Array](),
        list[float](),
        list[Diagnostic](),
    )
    for program in programs:
        began = perf_counter()
        (scored,) = tabulate(
            [program.canonical], statistics, bench.network.collection.groups, bench.options.tied
        )
        took = perf_counter() - began
        totals = scored.totals(rows.choices)
        if np.isfinite(totals).all():
            kept, scores, seconds = [*kept, program], [*scores, totals], [*seconds, took]
        else:
            problems.append(
                Diagnostic(
                    "E501", f"'{program.name or program.text}' has scores that are not finite"
                )
            )
    standings = _standings(rows, kept, np.array(scores), seconds, terms) if kept else []
    data = (
        bench.data.source
        if bench.data
        and any(INPUTS[name].needs_data for p in kept for name in inputs(p.elaborated))
        else ""
    )
    notices = (*bench.network.warnings, *statistics.warnings)
    return Standings(rows, terms, strata, tuple(standings), data, notices, tuple(problems))


def _standings(
    table: Table, programs: Sequence[Program], scores: Array, seconds: Sequence[float], terms: Terms
) -> Iterable[Standing]:
    truth, generator = truth_of(table, terms.by), np.random.default_rng(terms.seed)
    values, reference = truth.values, _reference(programs, terms.against)
    differences: Array | None = None
    if terms.protocol == "paper":
        rho, deviation = paper_protocol(scores, values, generator, terms.topk_by)
        low, high = rho - deviation, rho + deviation
    else:
        rho = np.array([at_top(scores, values, ratio, terms.topk_by) for ratio in RATIOS])
        boot = bootstrap(scores, truth, generator, terms.draws, RATIOS, terms.topk_by)
        low, high = boot.interval()
        differences = None if reference is None else boot.difference(reference)
    taus, shares = kendall(scores, values), precision(scores, values, RATIOS[0])
    partials = partial(scores, values, table.size.astype(np.float64))
    found = [
        Standing(
            program, rho[:, i], low[:, i], high[:, i], float(taus[i]), float(shares[i]), float(partials[i]),
            None if differences is None else differences[:, :, i], _cost(program), seconds[i], scores[i],
        )
        for i, program in enumerate(programs)
    ]  # fmt: skip
    return sorted(found, key=lambda standing: -standing.fitness)


def _reference(programs: Sequence[Program], name: str) -> int | None:
    if not name:
        return None
    names = [program.name or program.text for program in programs]
    if name not in names:
        raise error(
            "E102", f"'{name}' is not among the proxies that are ranked", *nearest(name, names)
        )
    return names.index(name)


def _cost(program: Program) -> Cost:
    read = [INPUTS[name].cost for name in inputs(program.canonical)]
    return max(read, key=COSTS.index, default=Cost.FREE)
