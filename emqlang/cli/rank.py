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
    "proxies",
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
    help="Which rows.",
)
@click.option(
    "--by",
    type=click.Choice(["top1", "loss"]),
    default="top1",
    show_default=True,
    help="What is true of a row.",
)
@click.option(
    "--topk-by",
    type=click.Choice(["truth", "score"]),
    default="truth",
    show_default=True,
    help="The best rows by the truth, or, as the authors' code has it, by each proxy's own score.",
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
    help="Compare all to this proxy: intervals of the difference.",
)
@click.option(
    "--draws", type=POSITIVE, default=1000, show_default=True, help="Resamples of rows and images."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the resamples.")
@click.option(
    "--plot",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Scatter of score and truth: SVG or PNG.",
)
@measuring
@as_json
@as_csv
@click.pass_context
def command(
    ctx: click.Context,
    /,
    words: tuple[str, ...],
    proxies: tuple[str, ...],
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
    given = library.find_all(words, proxies)
    render.diagnostics(warning for program in given for warning in program.warnings)
    from emqlang.quant.tables.shelf import DEFAULT
    from emqlang.quant.tables.table import load
    from emqlang.tasks.rank import Terms, contenders, judge
    from emqlang.tasks.workbench import Workbench, WorkbenchOptions
    from emqlang.views import rank

    if plot is not None:
        from emqlang.views import plots

        plots.check(plot)
        if len(tables) > 1:
            ctx.fail("--plot is of one table")
    terms = Terms(**{name: options.pop(name) for name in Terms.__dataclass_fields__})
    with render.progress() as progress:
        loaded = [load(name) for name in tables or (DEFAULT,)]
        found = [
            judge(
                t,
                Workbench.of_table(t, WorkbenchOptions(**options), progress),
                contenders(given, t),
                terms,
            )
            for t in loaded
        ]
    render.diagnostics(
        dict.fromkeys(notice for one in found for notice in (*one.notices, *one.problems))
    )
    rank.FORMATS[form](found)
    if plot is not None:
        plots.scatter(found[0], plot)
    ctx.exit(max(one.exit_status for one in found))
