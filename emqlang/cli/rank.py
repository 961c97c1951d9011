"""`emqlang rank`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from emqlang.cli.base import declare
from emqlang.cli.options import (
    POSITIVE,
    Expression,
    Words,
    as_csv,
    as_json,
    layout,
    library_names,
    measuring,
    table_names,
)
from emqlang.grammar import library
from emqlang.views import render


@declare(
    "rank",
    "emqlang rank",
    "emqlang rank fisher_error 'log(abs(grad_synflow)) * sqrt(mean(abs(w)))' --split heldout --against bit_sum",
    "emqlang rank mine.emq --table resnet18-fmnist-all --table vgg-fmnist-inner --json",
)
@click.argument("words", metavar="[EXPR...]", type=Expression(), nargs=-1)
@click.option(
    "--proxy",
    "names",
    type=Words("name", library_names),
    multiple=True,
    help="A proxy of the library; repeat it for several.",
)
@click.option(
    "--table",
    "tables",
    type=Words("table", table_names),
    multiple=True,
    help="A shipped table's name, or a table's file; repeat it for several.  [default: resnet18-fmnist-all]",
)
@click.option(
    "--split",
    type=click.Choice(["search", "heldout", "all"]),
    default="all",
    show_default=True,
    help="Rows to rank on.",
)
@click.option(
    "--by",
    type=click.Choice(["top1", "loss"]),
    default="top1",
    show_default=True,
    help="Ground truth: top-1 accuracy or loss.",
)
@click.option(
    "--topk-by",
    type=click.Choice(["truth", "score"]),
    default="truth",
    show_default=True,
    help="Take the best rows by truth, or, as the authors' code does, by each proxy's own score.",
)
@click.option(
    "--stratify", is_flag=True, help="Hold layers fixed whose own bits reach |Spearman| > 0.3."
)
@click.option(
    "--protocol",
    type=click.Choice(["rows", "paper"]),
    default="rows",
    show_default=True,
    help="All rows with intervals, or mean and deviation of five draws of 50, as the paper's Table 1.",
)
@click.option(
    "--against",
    metavar="NAME",
    default="",
    help="Proxy to compare all others with: intervals of the difference.",
)
@click.option(
    "--draws", type=POSITIVE, default=1000, show_default=True, help="Resamples of rows and images."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the resamples.")
@click.option(
    "--plot",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Scatter plot of score and truth: SVG or PNG.",
)
@measuring
@as_json
@as_csv
@click.pass_context
def command(
    ctx: click.Context,
    /,
    words: tuple[str, ...],
    names: tuple[str, ...],
    tables: tuple[str, ...],
    plot: Path | None,
    as_json: bool,
    as_csv: bool,
    **options: Any,
) -> None:
    """Rank proxies by how well they rank a benchmark table's configurations; without any, the whole library.

    Spearman's correlation over the truly best 20 %, 50 % and all rows, with 95 % intervals over rows and test images. The
    trivial baselines are in every ranking. EXPR is a text, a library name, file.emq:name, or - for stdin.
    """
    form = layout(ctx, as_json, as_csv)
    proxies = library.find_all(words, names)
    render.diagnostics(warning for program in proxies for warning in program.warnings)
    from emqlang.quant.tables.shelf import DEFAULT
    from emqlang.tasks.rank import RankOptions, rank
    from emqlang.tasks.workbench import WorkbenchOptions
    from emqlang.views import plots
    from emqlang.views import rank as view

    if plot is not None:
        plots.check(plot)
        if len(tables) > 1:
            ctx.fail("--plot is of one table")
    terms = RankOptions(**{name: options.pop(name) for name in RankOptions.__dataclass_fields__})
    settings = WorkbenchOptions(**options)
    with render.progress() as progress:
        rankings = rank(proxies, tables or (DEFAULT,), terms, settings, progress)
    notices = [notice for one in rankings for notice in (*one.notices, *one.problems)]
    render.diagnostics(dict.fromkeys(notices))
    view.FORMATS[form](rankings)
    if plot is not None:
        plots.scatter(rankings[0], plot)
    ctx.exit(max(ranking.exit_status for ranking in rankings))
