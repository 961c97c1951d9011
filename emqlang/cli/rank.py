"""`emqlang rank`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emqlang.cli.base import cached, declare
from emqlang.cli.numbers import SEED
from emqlang.cli.options import (
    calib_images,
    choice,
    count,
    expressions,
    ground_truth,
    library_proxies,
    measuring,
    pick,
    plot_file,
    shown,
    tables,
)
from emqlang.cli.rounding import statistics_rounding
from emqlang.cli.uses import check_statistics
from emqlang.grammar import library
from emqlang.views import render, ticker

if TYPE_CHECKING:
    from emqlang.tasks.rank import RankResult


@declare(
    "rank",
    "emqlang rank",
    "emqlang rank fisher_error 'log(abs(grad_synflow)) * sqrt(mean(abs(w)))' --against bit_sum",
    "emqlang rank mine.emq --table resnet18-fmnist-all --table vgg-fmnist-inner --json",
    kept=cached,
)
@expressions
@library_proxies
@tables
@choice("--split", "search heldout all", default="all", help="Rows to rank on.")
@ground_truth
@choice(
    "--topk-by",
    "truth score",
    default="truth",
    help="The best rows by truth, or, as the authors' code has it, by each proxy's own score.",
)
@click.option(
    "--stratify", is_flag=True, help="Hold layers fixed whose own bits reach |Spearman| > 0.3."
)
@choice(
    "--protocol",
    "rows paper",
    default="rows",
    help="All rows with intervals, or mean and deviation of five draws of 50: the paper's Table 1.",
)
@click.option(
    "--against",
    metavar="NAME",
    default="",
    help="Proxy to compare all others with: intervals of the difference.",
)
@count("--draws", default=1000, help="Resamples of rows and images.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of the resamples.")
@plot_file
@measuring
@statistics_rounding
@calib_images
@shown("rank", csv=True)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    words: tuple[str, ...],
    proxies: tuple[str, ...],
    tables: tuple[str, ...],
    plot: Path | None,
    **options: Any,
) -> RankResult:
    """Rank proxies by how well they rank a benchmark table's configurations.

    Without any, the whole library. Shows Spearman's correlation over the truly best 20 %, 50 % and
    all rows, with 95 % intervals over rows and test images, and regret: accuracy lost by the rows
    that a proxy prefers within size budgets, in points. The trivial baselines are in every
    ranking. A proxy whose entry says on how many images it was made has statistics of as many,
    unless --stat-images is given; one that has seen the rows is marked. EXPR is a text, a library
    name, file.emq:name, or - for stdin.
    """
    programs = library.find_all(words, proxies)
    check_statistics(ctx, programs)
    render.diagnostics(warning for program in programs for warning in program.warnings)
    from emqlang.tasks.rank import RankOptions, rank
    from emqlang.tasks.workbench import WorkbenchOptions
    from emqlang.views.figures import canvas, scatter

    if plot is not None:
        canvas.check(plot)
        if len(tables) > 1:
            ctx.fail("--plot is of one table")
    terms, measurement = pick(RankOptions, options), pick(WorkbenchOptions, options)
    with ticker.progress() as progress:
        result = rank(programs, tables, terms, measurement, progress)
    if plot is not None:
        canvas.save(scatter.draw(result.rankings[0]), plot)
    return result
