"""`emqlang bench build`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from emqlang.cli.base import declare
from emqlang.cli.options import POSITIVE, as_json, network_only, workers
from emqlang.views import render


@declare(
    "build",
    "emqlang bench build --out tables/resnet18-all.table",
    "emqlang bench build --fix 'conv1=8,fc=8' --rows 100 --workers 2 --out inner.table",
    "emqlang bench build --rounding brecq --iters 1000 --rows 24 --out brecq.table",
)
@click.option(
    "--out",
    required=True,
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The table's file.",
)
@click.option(
    "--rows",
    type=POSITIVE,
    default=425,
    show_default=True,
    help="Distinct configurations, drawn uniformly.",
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
    type=click.IntRange(2, 8),
    default=8,
    show_default=True,
    help="Of activations without a choice.",
)
@click.option(
    "--rounding",
    type=click.Choice(["nearest", "adaround", "brecq"]),
    default="nearest",
    show_default=True,
    help="As `quantize`.",
)
@click.option(
    "--iters",
    "iterations",
    type=POSITIVE,
    default=20_000,
    show_default=True,
    help="Of learned rounding, a unit.",
)
@click.option(
    "--composed",
    is_flag=True,
    help="Learn each unit once for every combination of its choices and compose rows of them; 24 rows are also learned in "
    "sequence, for comparison.",
)
@click.option(
    "--range",
    type=click.Choice(["mse", "minmax", "percentile"]),
    default="mse",
    show_default=True,
    help="How ranges are found.",
)
@click.option(
    "--calib-images", type=POSITIVE, default=1024, show_default=True, help="Images that calibrate."
)
@click.option(
    "--test",
    metavar="WHAT",
    help="Images to test on, as --data.  [default: the network's own, or all of --data]",
)
@network_only
@workers
@as_json
@click.pass_context
def command(
    ctx: click.Context, /, out: Path, workers: int, backend: str, as_json: bool, **options: Any
) -> None:
    """Quantize and test many configurations of a network.

    A row is committed as soon as it is measured. Run again with the same options, a table that was interrupted is finished;
    a finished one is left as it is.
    """
    if options["composed"] and options["rounding"] == "nearest":
        ctx.fail("--composed is for learned rounding: nearest rounding is composed anyway")
    from emqlang.quant.tables.build import Build
    from emqlang.quant.tables.spec import Spec
    from emqlang.tasks.workers import Workers
    from emqlang.views import bench

    told = shlex.join(["emqlang", *sys.argv[1:]])
    with render.progress() as progress:
        build = Build(out, Spec(**options), Workers(workers, backend).run, progress, told)
        render.diagnostics(build.builder.network.warnings)
        built = build.finish()
    (bench.built_json if as_json else bench.built_screen)(out, built)
