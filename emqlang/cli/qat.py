"""`emqlang qat`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emqlang.cli.base import declare
from emqlang.cli.numbers import FRACTION, THOUSAND
from emqlang.cli.options import (
    calib_images,
    choice,
    count,
    device,
    given,
    metric,
    network_only,
    pick,
    shown,
)
from emqlang.cli.outputs import output
from emqlang.cli.quantize import RESULT
from emqlang.views import render, ticker

if TYPE_CHECKING:
    from emqlang.tasks.qat import Qat


def _kept(params: Mapping[str, Any]) -> str:
    """What an interruption leaves."""
    from emqlang.quant.unfinished import UNFINISHED

    if params["out"] is None:
        return "what was learned is lost; with --out it is kept, and the same command goes on"
    if not (params["out"] / UNFINISHED).is_file():
        return "no epoch and no minute of training was over, so that nothing is kept"
    return f"what was learned is kept in {params['out']}, and the same command goes on from it"


@declare(
    "qat",
    "emqlang qat quantized --out trained",
    "emqlang qat recipe.json --epochs 4 --lr 0.001 --distill 0.5 --out trained",
    "emqlang qat quantized --model my.py:build --data my.py:train --test my.py:test --out trained",
    kept=_kept,
)
@click.argument("source", metavar="RECIPE|CHECKPOINT", type=click.Path(path_type=Path))
@choice("--preset", "paper", help="Settings as published: 30 epochs, --lr 4e-4, --batch-size 512.")
@count("--epochs", help="Passes over the training images.  [default: 2]")
@click.option("--lr", "rate", type=THOUSAND, help="Learning rate at first.  [default: 0.003]")
@count("--batch-size", "batch", help="Images in each step.  [default: 128]")
@click.option(
    "--distill",
    type=FRACTION,
    help="Share of the float network's answers in the loss, up to 1: labels are the rest.  "
    "[default: labels alone]",
)
@click.option("--temperature", type=THOUSAND, help="At which answers are compared.  [default: 4]")
@choice("--bn", "freeze train", help="Batch norms: folded, or trained and then folded.")
@click.option(
    "--loss",
    metavar="FUNCTION",
    help="What is to be small instead of the labels' loss: file.py:function of (outputs, batch), "
    "the mean over rows, or one for each.",
)
@count("--train-images", help="Training images, drawn with the seed.  [default: all]")
@calib_images
@click.option(
    "--test",
    metavar="WHAT",
    help="Images to test on, as --data.  [default: the network's own, or those that validated]",
)
@metric
@device
@output("--out", RESULT, "Write recipe.json and model.safetensors.")
@network_only
@shown("qat")
@click.pass_context
def command(
    ctx: click.Context, /, source: Path, bn: str | None, out: Path | None, **options: Any
) -> Qat:
    """Train a quantized network, and say what that gains: weights and quantization steps by LSQ.

    CHECKPOINT is a folder that `quantize` or `qat` wrote; of a RECIPE, the weights are rounded to
    the nearest value first. --data trains. A tenth of it is set aside, to choose the best epoch by;
    the test images are others. The network, its weights and images are those that the source was
    made with, where the options do not name others. The same command resumes a run that was
    stopped.
    """
    from emqlang.tasks.qat import QatOptions, train
    from emqlang.tasks.workbench import WorkbenchOptions

    workbench, qat = pick(WorkbenchOptions, options), pick(QatOptions, {"norms": bn, **options})
    with ticker.progress() as progress:
        return train(source, workbench, qat, given(ctx), out, progress, render.note)
