"""`emqlang evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from emqlang.cli.base import declare
from emqlang.cli.options import as_json, network_only
from emqlang.views import render


@declare(
    "evaluate",
    "emqlang evaluate quantized/model.safetensors",
    "emqlang evaluate --model resnet18-fmnist",
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
@network_only
@as_json
def command(checkpoint: Path | None, test: str | None, as_json: bool, **options: Any) -> None:
    """Score a network on test images, or a quantized one, CHECKPOINT, beside it.

    Without labels there is agreement with the float network, and the KL divergence from it.
    """
    from emqlang.tasks.quantize import evaluate_checkpoint
    from emqlang.tasks.workbench import Settings
    from emqlang.views import quantize as outcome

    with render.progress():
        net, found, source = evaluate_checkpoint(checkpoint, Settings(**options), test)
    what = "the float network" if checkpoint is None else str(checkpoint)
    (outcome.evaluated_json if as_json else outcome.evaluated_screen)(net, found, what, source)
