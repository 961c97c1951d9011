"""`emqlang assign`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emqlang.cli.base import cached, declare
from emqlang.cli.numbers import POSITIVE, Share
from emqlang.cli.options import FILE, budgets, calib_images, network, pick, shown
from emqlang.cli.outputs import output
from emqlang.cli.recommendation import proxy
from emqlang.cli.rounding import statistics_rounding
from emqlang.cli.uses import check_statistics
from emqlang.cli.words import Expression
from emqlang.tasks.outputs import Output
from emqlang.views import ticker

if TYPE_CHECKING:
    from emqlang.tasks.assign import Bits, Sweep, Walk
    from emqlang.tasks.measured import MeasuredBits, MeasuredFront, MeasuredOptions


@declare(
    "assign",
    "emqlang assign --avg-bits 3",
    "emqlang assign hawq_v2 --size 0.3MiB --fix 'conv1=8,fc=8' --out recipe.json",
    "emqlang assign --max-drop 1%",
    "emqlang assign --scores measured.csv --avg-bits 4.5 --tie 'blk.{}.attn_[qkv]'",
    kept=cached,
)
@click.argument("word", metavar="[EXPR]", type=Expression(), required=False)
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
    help="The quantity of --sweep and --max-drop.  [default: the budget's, or size]",
)
@click.option(
    "--config",
    metavar="LIST|FILE",
    help="Take these bits: one per group or layer, or a JSON file of names to bits.",
)
@click.option(
    "--polish",
    type=POSITIVE,
    metavar="N",
    help="Try this many exchanges of bits, and take those that lose less as measured on "
    "calibration images.",
)
@click.option(
    "--scores",
    metavar="FILE",
    type=FILE,
    help="Choose by scores that were measured elsewhere, without a network: CSV or JSON of "
    "name,numel,choice,bits,score[,macs,latency], or loss instead of score.",
)
@click.option(
    "--columns",
    metavar="LIST",
    default="",
    help="What the columns of --scores are called there, as 'name=tensor,loss=kld'.",
)
@click.option(
    "--tie",
    metavar="LIST",
    default="",
    help="Layers of --scores that share a choice, as 'blk.{}.attn_[qkv]': {} is the same for all.",
)
@click.option(
    "--partial",
    is_flag=True,
    help="Accept layers of --scores that lack choices, and never give them these.",
)
@calib_images
@click.option("--test", metavar="WHAT", help="Validation images of --max-drop, as --data.")
@output("--out", Output(), "Write the recipe, or the choices of --scores, here.")
@network
@statistics_rounding
@shown("assign", "measured", csv=True)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    word: str | None,
    sweep: bool,
    max_drop: float | None,
    over: str | None,
    config: str | None,
    polish: int | None,
    scores: Path | None,
    out: Path | None,
    **options: Any,
) -> Bits | Sweep | Walk | MeasuredBits | MeasuredFront:
    """Choose the bits of every layer: the greatest score within every budget.

    For a sum over layers that is proven; a program that does not separate is searched.

    EXPR is a text, a library name, file.emq:name, or - for stdin; without one, and without
    --config, it is the recommended proxy, which the output names.
    """
    if [word, config, scores].count(None) < 2:
        ctx.fail("give an EXPR, bits with --config, or measured --scores")
    if scores is not None:
        from emqlang.tasks.measured import MeasuredOptions

        return _measured(scores, pick(MeasuredOptions, options), over, out, sweep)
    program = None if config is not None else proxy(word, options)
    calibrates = not (max_drop is polish is None) or out is not None  # a recipe names the images
    check_statistics(ctx, [program] if program else [], calibrates=calibrates)
    from emqlang.tasks.assign import Chooser, Sweep
    from emqlang.tasks.problem import Constraints
    from emqlang.tasks.quantize import QuantizeOptions
    from emqlang.tasks.workbench import WorkbenchOptions

    result: Bits | Sweep | Walk
    with ticker.progress() as progress:
        chooser = Chooser(pick(WorkbenchOptions, options), pick(Constraints, options), progress)
        if program is None:
            result = chooser.given(config or "")
        elif sweep:
            result = chooser.sweep(program, over)
        elif max_drop is not None:
            result = chooser.walk(program, over, max_drop, pick(QuantizeOptions, options))
        else:
            help = "or --sweep or --max-drop 1%, which need none"
            quantization = pick(QuantizeOptions, options)
            result = chooser.best(program, help, polish=polish or 0, options=quantization)
    if out is not None and not isinstance(result, Sweep) and result.recipe is not None:
        result.recipe.save(out)
    return result


def _measured(
    scores: Path, options: MeasuredOptions, over: str | None, out: Path | None, sweeps: bool
) -> MeasuredBits | MeasuredFront:
    """Choices by scores from a file: nothing of a network, or of its libraries, is loaded."""
    from emqlang.tasks.measured import choose, sweep

    if sweeps:
        return sweep(scores, options, over)
    bits = choose(scores, options)
    if out is not None:
        bits.recipe.save(out)
    return bits
