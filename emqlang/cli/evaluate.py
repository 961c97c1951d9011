"""`emqlang evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emqlang.cli.base import declare
from emqlang.cli.options import given, metric, network_only, pick, shown
from emqlang.views import ticker

if TYPE_CHECKING:
    from emqlang.tasks.evaluate import Evaluated


@declare(
    "evaluate",
    "emqlang evaluate quantized",
    "emqlang evaluate --model resnet18-fmnist",
    "emqlang evaluate quantized --integer",
    "emqlang evaluate quantized/model.safetensors --test imagenet/val --json",
)
@click.argument(
    "checkpoint", metavar="[CHECKPOINT]", type=click.Path(path_type=Path), required=False
)
@click.option(
    "--test",
    metavar="WHAT",
    help="Images to test on, as --data.  [default: the network's own test images]",
)
@click.option(
    "--integer",
    is_flag=True,
    help="Evaluate CHECKPOINT in integer arithmetic, too, and compare the two.",
)
@metric
@network_only
@shown("evaluate")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    checkpoint: Path | None,
    metric: str | None,
    integer: bool,
    **options: Any,
) -> Evaluated:
    """Score a network on test images, or a quantized one, CHECKPOINT, beside it.

    CHECKPOINT is a folder that `quantize` or `qat` wrote, or the model.safetensors in it. Its
    network, weights and images are those it was made with, where the options name no others.
    Without labels there is agreement with the float network, and the KL divergence from it; of
    outputs without classes, the error relative to the float network's.

    --integer computes with integer codes, 32-bit sums, products and shifts alone, as an accelerator
    does, for networks of convolutions, linear layers, ReLU, ReLU6, sums, max pooling, global
    average pooling and flatten.
    """
    from emqlang.tasks.evaluate import evaluate
    from emqlang.tasks.workbench import WorkbenchOptions

    with ticker.progress() as progress:
        workbench = pick(WorkbenchOptions, options)
        return evaluate(checkpoint, workbench, given(ctx), metric, progress, integer=integer)
