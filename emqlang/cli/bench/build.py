"""`emqlang bench build`."""

from __future__ import annotations

import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emqlang.cli.base import declare
from emqlang.cli.numbers import ACT_BITS
from emqlang.cli.options import (
    calib_images,
    choice,
    count,
    iterations,
    network_only,
    ranges,
    rounding,
    shown,
    test_images,
    workers,
)
from emqlang.cli.outputs import output
from emqlang.tasks.outputs import Output
from emqlang.views import render, ticker

if TYPE_CHECKING:
    from emqlang.quant.tables.build import Built

# A table that is there is gone on with if it is the same, and refused if not.
TABLE = Output(finished=(), replaced=("",))


@declare(
    "build",
    "emqlang bench build --out tables/resnet18-all.table",
    "emqlang bench build --fix 'conv1=8,fc=8' --rows 100 --sample edge --workers 2 --out e.table",
    "emqlang bench build --rounding brecq --iters 1000 --rows 24 --out brecq.table",
    kept=lambda params: "measured rows are kept, and the same command goes on from them",
)
@output("--out", TABLE, "The table's file.", required=True)
@count("--rows", default=425, help="Distinct configurations.")
@choice(
    "--sample",
    "uniform edge",
    default="uniform",
    help="Draw them uniformly, or where bits are assigned: solutions and their neighbours at 8 "
    "size budgets.",
)
@click.option(
    "--menu",
    metavar="LIST",
    default="2,3,4",
    show_default=True,
    help="Weight bits, or pairs such as W2A8,W4A8.",
)
@click.option(
    "--fix",
    metavar="LIST",
    default="",
    help="Layers that have these bits in every row, as 'conv1=8,fc=8'.",
)
@click.option(
    "--act-bits",
    type=ACT_BITS,
    default=8,
    show_default=True,
    help="Bits of activations that --menu does not choose.",
)
@rounding
@iterations
@click.option(
    "--composed",
    is_flag=True,
    help="Learn each unit once for every combination of its choices and compose rows of them; "
    "a few rows (24 of brecq, 6 of adaround) are also learned in sequence, for comparison.",
)
@ranges
@calib_images
@test_images
@network_only
@workers
@shown("bench")
def command(out: Path, workers: int, backend: str, **options: Any) -> Built:
    """Quantize and test many configurations of a network.

    A row is committed as soon as it is measured. Run again with the same options, a table that was
    interrupted is finished; a finished one is left as it is.
    """
    from emqlang.quant.tables.build import Build
    from emqlang.quant.tables.spec import Spec
    from emqlang.tasks.edges import library_scores
    from emqlang.tasks.workers import Workers

    line = shlex.join(["emqlang", *sys.argv[1:]])
    with ticker.progress() as progress:
        spec, run = Spec(**options), Workers(workers, backend).run
        scores = partial(library_scores, progress=progress)
        build = Build(out, spec, run, progress, line, scores)
        render.diagnostics(build.builder.network.warnings)
        note_goes_on(len(build.ledger.measured()), len(build.ledger.rows()))
        return build.finish()


def note_goes_on(before: int, rows: int) -> None:
    """Say that a table, or a rerun, goes on, and where."""
    if 0 < before < rows:
        render.note(f"{before:,} of {rows:,} rows are there: going on with the others")
