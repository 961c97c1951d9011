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
    help="The run.  [default: runs/evolve-N]",
)
@click.option(
    "--resume",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help="Go on with a run, as it was begun.",
)
@click.option(
    "--evals",
    type=POSITIVE,
    help="End after so many programs are evaluated.  [default: 20000; 1000 steps of emq]",
)
@click.option("--steps", type=POSITIVE, help="End after so many steps.")
@click.option(
    "--budget",
    "seconds",
    type=Duration(),
    metavar="TIME",
    help="End after this time, as 90s, 5m or 2h.",
)
@click.option(
    "--table",
    "tables",
    type=Words("table", table_names),
    multiple=True,
    help="What judges; repeat it for several, whose fitnesses are combined.  [default: resnet18-fmnist-all]",
)
@click.option(
    "--split",
    type=click.Choice(["search", "all"]),
    default="search",
    show_default=True,
    help="Which rows judge.",
)
@click.option(
    "--by",
    type=click.Choice(["top1", "loss"]),
    default="top1",
    show_default=True,
    help="What is true of a row.",
)
@click.option(
    "--combine",
    type=click.Choice(["mean", "least"]),
    help="How several tables make one fitness.  [default: mean]",
)
@click.option(
    "--algorithm",
    type=click.Choice(["grammar", "emq"]),
    default="grammar",
    show_default=True,
    help="Ours, or the paper's.",
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--islands", type=POSITIVE, help="Populations that exchange their best.  [default: 4; 1 of emq]"
)
@click.option("--population", type=POSITIVE, help="Of one island.  [default: 64; 20 of emq]")
@click.option(
    "--inputs",
    type=Listed("statistics", input_names),
    help="What programs read.  [default: all but those of N forwards]",
)
@click.option(
    "--ops",
    type=Listed("ops", op_names),
    help="What they are made of.  [default: all but structured ones]",
)
@click.option(
    "--no-choice",
    is_flag=True,
    help="Leave out bits, qerr and whatever else depends on the choice.",
)
@click.option("--max-nodes", type=POSITIVE, help="Of a program.  [default: 24]")
@click.option(
    "--selection",
    type=click.Choice(["pareto", "fitness"]),
    help="Who survives: by fitness, size and cost, or fitness alone.",
)
@click.option(
    "--structure",
    type=click.Choice(["sequential", "branched", "dag"]),
    help="Of emq.  [default: branched]",
)
@click.option(
    "--fitness",
    type=click.Choice(["whole", "paper50"]),
    default="whole",
    show_default=True,
    help="Of emq: all rows, or 50.",
)
@click.option(
    "--semantics",
    type=click.Choice(["protected", "paper"]),
    help="Of emq: the language's, or the authors' formulas.",
)
@click.option(
    "--without",
    type=Listed("parts", lambda: ()),
    help="Parts of emq left out: evolution, osp, dps, equivalence, ...",
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
    workers: int,
    backend: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Search for proxies that rank a benchmark table's configurations.

    A run is a folder; every step is committed whole. Ctrl-C finishes the step, saves, and prints the front.
    """
    if resume is not None and out is not None:
        ctx.fail("--resume goes on in the run's own folder")
    from emqlang.evolve.search import Budget
    from emqlang.tasks import evolve as evolution

    wish = evolution.Wish.of(options)
    limits = Budget(evals, steps, seconds)
    with render.progress() as progress:
        told = shlex.join(["emqlang", *sys.argv[1:]])
        done = evolution.run(wish, resume, out, limits, workers, backend, told, progress)
    (evolution.as_json if as_json else evolution.screen)(done)
    ctx.exit(done.exit_status)
