"""Bits by a proxy, within budgets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emqlang.api import arguments
from emqlang.api.notices import warn
from emqlang.api.words import in_python
from emqlang.grammar import library
from emqlang.grammar.diagnostics import error
from emqlang.grammar.program import Program
from emqlang.quant.ptq.recipe import Recipe
from emqlang.scores.pipeline import Scores
from emqlang.tasks.eval import evaluate
from emqlang.tasks.objective import objective
from emqlang.tasks.polish import polish as polished
from emqlang.tasks.polish import trials
from emqlang.tasks.problem import Constraints, Problem
from emqlang.tasks.workbench import Workbench


@in_python
def assign(
    proxy: str | Program | Scores | Workbench | None = None,
    statistics: Workbench | None = None,
    *,
    size: str | int | None = None,
    bops: str | int | None = None,
    latency: str | int | None = None,
    avg_bits: str | float | None = None,
    latency_table: str | Path | None = None,
    fix: str | Mapping[str, int] = "",
    accounting: str = "full",
    act_bits: int = 8,
    method: str = "exact",
    samples: int = 50_000,
    seed: int = 0,
    hold_unmeasured: bool = False,
    polish: int = 0,
) -> Recipe:
    """The bits with the greatest score within every budget, as a recipe.

    `assign(statistics, avg_bits=3)`, without a proxy, takes the one that is recommended.
    `recipe.solver` says what the bits score, whether that is proven `optimal` or the `best found`,
    and, as `uniform`, what the widest single choice for all within the budgets does; None without
    any. `recipe.bits` maps layers to weight bits.

    Budgets are written as on the command line, size='4.5MiB', bops='72G', latency='3ms',
    avg_bits=3, or are numbers of bytes, bit operations and nanoseconds. `fix` is '0=8', or
    {'0': 8}. `method` is 'exact', or 'sample' for the paper's. `polish` is how many exchanges of
    bits to measure on up to 1,024 of the images; those that lose less are taken. Raises E403
    without a budget, E404 for a bad one, E405 where the budgets cannot be met, naming the least
    each can be, E402 for `fix`, E501 for scores that are not finite, E303 for images that are not
    there, E409 for groups that the scores say nothing of: `hold_unmeasured` gives those the most
    bits of the menu.
    """
    constraints = arguments.constraints(
        size=size,
        bops=bops,
        latency=latency,
        avg_bits=avg_bits,
        latency_table=latency_table,
        fix=fix,
        accounting=accounting,
        act_bits=act_bits,
        method=method,
        samples=samples,
        seed=seed,
        hold_unmeasured=hold_unmeasured,
    )
    arguments.check(polish=polish)
    if isinstance(proxy, Workbench) and statistics is None:
        proxy, statistics = None, proxy
    return _assigned(proxy, statistics, constraints, polish)


def _assigned(proxy: Any, statistics: Any, constraints: Constraints, polish: int) -> Recipe:
    arguments.check(statistics=statistics)
    if not constraints.limits:
        raise error("E403", "there is no budget", "give size, bops, latency or avg_bits")
    problem = Problem.of(statistics.network, statistics.choices, constraints)
    program = None if isinstance(proxy, Scores) else _program(proxy, statistics)
    table = proxy if program is None else _scores(program, statistics.with_choices(problem.menu))
    measured = trials(statistics, constraints.act_bits) if polish else None
    found = objective(problem, table)
    warn(found.problem.warnings)
    best = found.solve()
    if measured is not None:
        best, _ = polished(found, best, measured, polish, statistics.progress)
    return found.problem.recipe(best, program, found.uniform())


def _program(proxy: Any, statistics: Workbench) -> Program:
    """The proxy, or the recommended one."""
    if proxy is None:
        return library.recommended(pairs=statistics.choices[0].act_bits is not None)
    arguments.check(proxy=proxy)
    return library.find_one(proxy) if isinstance(proxy, str) else proxy


def _scores(program: Program, statistics: Workbench) -> Scores:
    found = evaluate(statistics.fitted(program.domain), [program])
    warn(found.diagnostics)
    return found.scored[0].table
