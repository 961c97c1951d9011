"""`emqlang export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emqlang.cli.base import declare
from emqlang.cli.options import (
    calib_images,
    count,
    given,
    network_only,
    pick,
    shown,
    test_images,
)
from emqlang.cli.outputs import output
from emqlang.cli.words import Words, export_formats
from emqlang.tasks.outputs import Output
from emqlang.views import ticker

if TYPE_CHECKING:
    from emqlang.tasks.export import Exported


THERE = "there is something already"


def _is_ours(folder: Path) -> bool:
    from emqlang.quant.export import is_export

    return is_export(folder)


@declare(
    "export",
    "emqlang export quantized --to safetensors -o weights.safetensors",
    "emqlang export quantized --to onnx -o network.onnx",
    "emqlang export recipe.json --to json -o bits.json",
    "emqlang export bits.json --to gguf -o types.txt",
)
@click.argument("source", metavar="RECIPE|CHECKPOINT|BITS", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "format",
    metavar="FORMAT",
    type=Words("format", export_formats),
    required=True,
    help=f"One of {', '.join(export_formats())}.",
)
@output("--out -o", Output(said=THERE, ours=_is_ours), "What is written.", required=True)
@click.option(
    "--no-verify",
    "verify",
    is_flag=True,
    flag_value=False,
    default=True,
    help="Do not run or read again what was written.",
)
@click.option("--partial", is_flag=True, help="Leave out layers that the format does not hold.")
@click.option(
    "--requantize",
    is_flag=True,
    help="Round to the format's own grid where it has not ours, and say what that costs.",
)
@click.option(
    "--int2", is_flag=True, help="Hold weights of 2 bits in UINT2, if the runtime loads that."
)
@count("--images", default=64, help="Images that outputs are compared on at most, to verify them.")
@calib_images
@test_images
@network_only
@shown("export")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    source: Path,
    format: str,
    out: Path,
    calib_images: int,
    **options: Any,
) -> Exported:
    """Write bits, or a quantized network, as other programs read them.

    CHECKPOINT is a folder that `quantize` or `qat` wrote, or its model.safetensors. Of a RECIPE,
    weights are rounded to the nearest value, where the format has weights. The network, its weights
    and its images are those that it was made with, where the options do not name others. BITS are
    those of `assign --scores --out`, for csv, json and configurations of other quantizers.
    """
    from emqlang.quant.export.subject import Settings
    from emqlang.tasks.export import export
    from emqlang.tasks.workbench import WorkbenchOptions

    workbench, settings = pick(WorkbenchOptions, options), pick(Settings, options)
    with ticker.progress():
        return export(source, format, out, workbench, settings, given(ctx), calib_images)
