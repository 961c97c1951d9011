"""`emqlang assign`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from emqlang.cli.base import declare
from emqlang.cli.options import (
    POSITIVE,
    Expression,
    Share,
    as_csv,
    as_json,
    budgets,
    layout,
    network,
    parted,
)
from emqlang.grammar import library
from emqlang.views import render


@declare(
    "assign",
    "emqlang assign fisher_error --avg-bits 3",
    "emqlang assign hawq_v2 --size 0.3MiB --fix 'conv1=8,fc=8' --out recipe.json",
    "emqlang assign fisher_error --max-drop 1%",
)
@click.argument("word", metavar="EXPR", type=Expression(), required=False)
@budgets
@click.option(
    "--sweep", is_flag=True, help="Print the complete Pareto front of the score over one quantity."
)
@click.option(
    "--max-drop",
    type=Share(),
    metavar="PERCENT",
    help="Walk the front to the cheapest bits that lose at most this, as 1%.",
)
@click.option(
    "--over",
    type=click.Choice(["size", "bops", "latency", "avg-bits"]),
    help="What --sweep and --max-drop go along.  [default: the budget's, or size]",
)
@click.option(
    "--config",
    metavar="LIST|FILE",
    help="Take these bits: one a group or layer, or a JSON file of names to bits.",
)
@click.option(
    "--calib-images",
    type=POSITIVE,
    default=1024,
    show_default=True,
    help="Images that calibrate, for --max-drop.",
)
@click.option("--test", metavar="WHAT", help="Images to validate on, as --data, for --max-drop.")
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the recipe here.",
)
@network
@as_json
@as_csv
@click.pass_context
def command(
    ctx: click.Context,
    /,
    word: str | None,
    sweep: bool,
    max_drop: float | None,
    over: str | None,
    config: str | None,
    calib_images: int,
    test: str | None,
    out: Path | None,
    as_json: bool,
    as_csv: bool,
    **options: Any,
) -> None:
    """Choose the bits of every layer: the greatest total score within every budget, proven.

    EXPR is a text, a library name, file.emq:name, or - for stdin.
    """
    if (word is None) == (config is None):
        ctx.fail("give an EXPR, or bits with --config")
    if sweep and (max_drop is not None or out is not None or config is not None):
        ctx.fail("--sweep prints a front, and goes with neither --max-drop, --out nor --config")
    program = library.find_one(word or "bits")
    from emqlang.tasks.assign import Bits, Choosing, Sweep, Walked
    from emqlang.tasks.quantize import Method
    from emqlang.views import assign as bits

    settings, wish = parted(options)
    found: Bits | Sweep | Walked
    with render.progress() as progress:
        choosing = Choosing(settings, wish, progress)
        if config is not None:
            found, notices = choosing.given(config)
        elif sweep:
            found, notices = choosing.sweep(program, over)
        elif max_drop is not None:
            found, notices = choosing.walk(
                program, over, max_drop, test, Method(calib_images=calib_images)
            )
        else:
            found, notices = choosing.best(program)
    render.diagnostics(notices)
    chosen = found.bits if isinstance(found, Walked) else found
    if out is not None and isinstance(chosen, Bits):
        chosen.recipe.save(out)
    bits.FORMATS[type(found)][layout(ctx, as_json, as_csv)](found)
    ctx.exit(found.exit_status)
