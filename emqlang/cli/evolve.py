"""`emqlang evolve`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emqlang.cli.base import declare
from emqlang.cli.numbers import POSITIVE, SEED, Duration
from emqlang.cli.options import (
    calib_images,
    choice,
    count,
    ground_truth,
    label_draws,
    pick,
    shown,
    tables,
    workers,
)
from emqlang.cli.outputs import claim, output
from emqlang.cli.rounding import statistics_rounding
from emqlang.cli.words import Listed, input_names, op_names
from emqlang.tasks.outputs import Output
from emqlang.views import ticker

if TYPE_CHECKING:
    from emqlang.tasks.evolve import EvolveResult

limit = partial(click.option, type=POSITIVE)
RUN = Output(
    folder=True,
    finished=("run.sqlite",),
    replaced=("run.sqlite",),
    said="the folder holds a run already",
    hint="resume it with --resume, or give another --out",
)
RESUMED = Output(folder=True, finished=(), made=False)


def _kept(params: Mapping[str, Any]) -> str:
    """What an interruption leaves that is not waited for."""
    return "finished steps are kept: emqlang evolve --resume FOLDER goes on from the last one"


@declare(
    "evolve",
    "emqlang evolve",
    "emqlang evolve --table resnet18-fmnist-all --table vgg-fmnist-all --evals 50000 --workers 2",
    "emqlang evolve --resume runs/evolve-1 --budget 5m",
    kept=_kept,
)
@output("--out", RUN, "Folder of the run.  [default: runs/evolve-N]")
@output("--resume", RESUMED, "Resume a run with its settings.")
@limit(
    "--evals",
    help="Stop after this many evaluated programs.  [default: 20000; 1000 steps with emq]",
)
@limit("--steps", help="Stop after this many steps.")
@click.option(
    "--budget",
    "seconds",
    type=Duration(),
    metavar="TIME",
    help="Stop after this time, such as 90s, 5m or 2h.",
)
@tables
@choice("--split", "search all", default="search", help="Rows used for fitness.")
@ground_truth
@choice("--combine", "mean least", help="How several tables make one fitness.  [default: mean]")
@choice(
    "--algorithm",
    "grammar emq",
    default="grammar",
    help="Our search over the typed grammar, or the paper's.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of the search.")
@limit("--islands", help="Populations that exchange their best.  [default: 4; 1 with emq]")
@limit("--population", help="Individuals per island.  [default: 64; 20 with emq]")
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
@click.option(
    "--additive",
    is_flag=True,
    help="Search sums over layers alone: no total, and nothing for each image.",
)
@limit("--max-nodes", help="Largest size of a program.  [default: 24]")
@choice(
    "--selection",
    "pareto fitness",
    help="Survival by fitness, size and cost, or by fitness alone.  [default: pareto]",
)
@choice(
    "--structure",
    "sequential branched dag",
    help="Structure of programs with emq.  [default: branched]",
)
@choice(
    "--fitness",
    "whole paper50",
    default="whole",
    help="Rows per fitness with emq: all, or 50 drawn.",
)
@choice(
    "--semantics",
    "protected paper",
    help="Formulas with emq: the language's, or the authors'.  [default: protected]",
)
@click.option(
    "--without",
    type=Listed("parts", lambda: ()),
    help="Parts of emq to leave out: evolution, osp, dps, equivalence, ...",
)
@count("--stat-images", default=256, help="Images that statistics are taken on.")
@label_draws
@statistics_rounding
@calib_images
@workers
@shown("evolve")
def command(
    out: Path | None,
    resume: Path | None,
    evals: int | None,
    steps: int | None,
    seconds: float | None,
    workers: int,
    backend: str,
    **options: Any,
) -> EvolveResult:
    """Search for proxies that rank a benchmark table's configurations.

    A run is a folder; every step is committed whole. Ctrl-C finishes the step, saves, and prints
    the front.
    """
    from emqlang.evolve.search import Budget
    from emqlang.evolve.settings import EvaluationOptions
    from emqlang.tasks import evolve
    from emqlang.tasks.workers import Workers

    settings, evaluation = evolve.search_settings(options), pick(EvaluationOptions, options)
    command, pool = shlex.join(["emqlang", *sys.argv[1:]]), Workers(workers, backend)
    folder = out or evolve.free_folder()
    with ExitStack() as stack:
        progress = stack.enter_context(ticker.progress())
        if resume is not None:
            search = evolve.resume(resume, pool, progress)
        else:
            if out is None:
                stack.enter_context(claim(RUN, folder))
            search = evolve.begin(settings, evaluation, folder, command, pool, progress)
        return evolve.advance(search, Budget(evals, steps, seconds), progress)
