"""`emqlang evolve`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from emqlang.cli.base import declare
from emqlang.cli.options import (
    POSITIVE,
    Duration,
    Listed,
    Words,
    as_json,
    input_names,
    layout,
    op_names,
    table_names,
    workers,
)
from emqlang.views import render


@declare(
    "evolve",
    "emqlang evolve",
    "emqlang evolve --table resnet18-fmnist-all --table vgg-fmnist-all --evals 50000 --workers 2 --out runs/joint",
    "emqlang evolve --resume runs/joint --budget 5m",
)
@click.option(
    "--out",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the run.  [default: runs/evolve-N]",
)
@click.option(
    "--resume",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Resume a run with its settings.",
)
@click.option(
    "--evals",
    type=POSITIVE,
    help="Stop after this many evaluated programs.  [default: 20000; 1000 steps with emq]",
)
@click.option("--steps", type=POSITIVE, help="Stop after this many steps.")
@click.option(
    "--budget",
    "seconds",
    type=Duration(),
    metavar="TIME",
    help="Stop after this time, such as 90s, 5m or 2h.",
)
@click.option(
    "--table",
    "tables",
    type=Words("table", table_names),
    multiple=True,
    help="Table that fitness is measured on; repeat it to combine several.  [default: resnet18-fmnist-all]",
)
@click.option(
    "--split",
    type=click.Choice(["search", "all"]),
    default="search",
    show_default=True,
    help="Rows used for fitness.",
)
@click.option(
    "--by",
    type=click.Choice(["top1", "loss"]),
    default="top1",
    show_default=True,
    help="Ground truth: top-1 accuracy or loss.",
)
@click.option(
    "--combine",
    type=click.Choice(["mean", "least"]),
    help="How the fitnesses of several tables make one.  [default: mean]",
)
@click.option(
    "--algorithm",
    type=click.Choice(["grammar", "emq"]),
    default="grammar",
    show_default=True,
    help="Our search over the typed grammar, or the paper's.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the search.")
@click.option(
    "--islands",
    type=POSITIVE,
    help="Populations that exchange their best.  [default: 4; 1 with emq]",
)
@click.option(
    "--population", type=POSITIVE, help="Individuals per island.  [default: 64; 20 with emq]"
)
@click.option(
    "--inputs",
    type=Listed("statistics", input_names),
    help="Statistics that programs read.  [default: all but those of N forwards]",
)
@click.option(
    "--ops",
    type=Listed("ops", op_names),
    help="Ops that programs are made of.  [default: all but structured ones]",
)
@click.option(
    "--no-choice",
    is_flag=True,
    help="Leave out bits, qerr and everything else that depends on the choice.",
)
@click.option("--max-nodes", type=POSITIVE, help="Largest size of a program.  [default: 24]")
@click.option(
    "--selection",
    type=click.Choice(["pareto", "fitness"]),
    help="Survival by fitness, size and cost, or by fitness alone.  [default: pareto]",
)
@click.option(
    "--structure",
    type=click.Choice(["sequential", "branched", "dag"]),
    help="Structure of programs with emq.  [default: branched]",
)
@click.option(
    "--fitness",
    type=click.Choice(["whole", "paper50"]),
    default="whole",
    show_default=True,
    help="Rows per fitness with emq: all, or 50 drawn.",
)
@click.option(
    "--semantics",
    type=click.Choice(["protected", "paper"]),
    help="Formulas with emq: the language's, or the authors'.  [default: protected]",
)
@click.option(
    "--without",
    type=Listed("parts", lambda: ()),
    help="Parts of emq to leave out: evolution, osp, dps, equivalence, ...",
)
@click.option(
    "--stat-images",
    type=POSITIVE,
    default=256,
    show_default=True,
    help="Images that statistics are taken on.",
)
@workers
@as_json
@click.pass_context
def command(
    ctx: click.Context,
    /,
    out: Path | None,
    resume: Path | None,
    evals: int | None,
    steps: int | None,
    seconds: float | None,
    tables: tuple[str, ...],
    split: str,
    by: str,
    stat_images: int,
    workers: int,
    backend: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Search for proxies that rank a benchmark table's configurations.

    A run is a folder; every step is committed whole. Ctrl-C finishes the step, saves, and prints the front.
    """
    if resume is not None and out is not None:
        ctx.fail("--resume continues in the run's own folder")
    from emqlang.evolve.search import Budget
    from emqlang.evolve.settings import EvaluationOptions
    from emqlang.quant.tables.shelf import DEFAULT
    from emqlang.tasks import evolve
    from emqlang.tasks.workers import Workers
    from emqlang.views import evolve as view

    settings = evolve.search_settings(options)
    evaluation = EvaluationOptions(tables or (DEFAULT,), split, by, stat_images)
    command = shlex.join(["emqlang", *sys.argv[1:]])
    pool = Workers(workers, backend)
    with render.progress() as progress:
        if resume is not None:
            search = evolve.resume(resume, pool, progress)
        else:
            folder = out or evolve.free_folder()
            search = evolve.begin(settings, evaluation, folder, command, pool, progress)
        result = evolve.advance(search, Budget(evals, steps, seconds), progress)
    view.FORMATS[layout(ctx, as_json)](result)
    ctx.exit(result.exit_status)
