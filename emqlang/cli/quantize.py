"""`emqlang quantize`."""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import replace

from emqlang.cli.base import cached, declare
from emqlang.cli.options import (
    FILE,
    budgets,
    calib_images,
    given,
    iterations,
    metric,
    pick,
    ranges,
    rounding,
    shown,
    test_images,
)
from emqlang.cli.options import network as network_options
from emqlang.cli.outputs import output
from emqlang.cli.recommendation import proxy
from emqlang.cli.uses import check_statistics
from emqlang.cli.words import Expression
from emqlang.tasks.outputs import Output
from emqlang.views import render, ticker

if TYPE_CHECKING:
    from emqlang.grammar.diagnostics import Diagnostic
    from emqlang.tasks.quantize import Comparison
    from emqlang.tasks.workbench import WorkbenchOptions

RESULT = Output(
    folder=True,
    finished=("recipe.json", "model.safetensors"),
    said="the folder holds a quantized network or a recipe already",
    hint="give another --out",
)


def _kept(params: Mapping[str, Any]) -> str:
    """What an interruption leaves."""
    if params["rounding"] == "nearest":
        return cached(params)
    if params["out"] is None:
        return "what was learned is lost; with --out it is kept, and the same command goes on"
    return f"what was learned is kept in {params['out']}, and the same command goes on from it"


def _said(path: Path | None, options: WorkbenchOptions, named: Container[str]) -> str:
    """What a recipe says of the network and its images, where the command line does not."""
    names = [name for name in ("model", "weights", "data", "input") if name not in named]
    values = {name: getattr(options, name) for name in names}
    words = [f"--{name} {value}" for name, value in values.items() if value]
    return f"as {path} says: {' '.join(words)}" if words else ""


@declare(
    "quantize",
    "emqlang quantize --avg-bits 3",
    "emqlang quantize --recipe recipe.json --rounding brecq --iters 1000 --out quantized",
    "emqlang quantize --config 4 --rounding adaround --iters 500",
    kept=_kept,
)
@click.argument("word", metavar="[EXPR]", type=Expression(), required=False)
@click.option(
    "--recipe", "recipe_path", metavar="FILE", type=FILE, help="Bits that `assign` chose."
)
@click.option(
    "--config",
    metavar="LIST|FILE",
    help="Bits of your own: one for all, per group or per layer, or a JSON of names to bits.",
)
@rounding
@iterations
@ranges
@calib_images
@click.option(
    "--bias-correction", is_flag=True, help="Move biases so that mean outputs are the float ones."
)
@click.option(
    "--fisher",
    is_flag=True,
    help="Weight output errors by the gradient of the network's own answer.",
)
@click.option(
    "--no-check",
    "check",
    is_flag=True,
    flag_value=False,
    default=True,
    help="Leave out the 8-bit check.",
)
@click.option(
    "--no-uniform",
    "uniform",
    is_flag=True,
    flag_value=False,
    default=True,
    help="Leave out the comparison with uniform bits at the same budget.",
)
@test_images
@metric
@output("--out", RESULT, "Write recipe.json and model.safetensors.")
@budgets
@network_options
@shown("quantize")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    word: str | None,
    recipe_path: Path | None,
    config: str | None,
    out: Path | None,
    **options: Any,
) -> Comparison:
    """Quantize a network after training, and say what that costs.

    The bits come from a recipe, from a configuration, or from a budget and a proxy: EXPR, or else
    the recommended one, which the output names. A recipe names its network, weights and images too,
    for where the options do not.
    """
    if [word, recipe_path, config].count(None) < 2:
        ctx.fail("give one of --recipe, --config, and an EXPR with a budget")
    program = proxy(word, options) if recipe_path is None and config is None else None
    check_statistics(ctx, [program] if program else [], calibrates=True)
    from emqlang.quant.ptq.recipe import load_recipe
    from emqlang.quant.ptq.splits import Splits
    from emqlang.tasks.assign import Chooser
    from emqlang.tasks.claims import believed
    from emqlang.tasks.evaluate import completed
    from emqlang.tasks.problem import Constraints
    from emqlang.tasks.quantize import Quantization, QuantizeOptions
    from emqlang.tasks.workbench import WorkbenchOptions

    workbench, quantization = pick(WorkbenchOptions, options), pick(QuantizeOptions, options)
    recipe = None if recipe_path is None else load_recipe(recipe_path)
    if recipe is not None:
        workbench = completed(workbench, recipe, given(ctx))
        if said := _said(recipe_path, workbench, given(ctx)):
            render.note(said)

    def estimate(seconds: float) -> None:
        render.note(f"{quantization.rounding} will take about {render.duration(seconds)}")

    with ticker.progress() as progress:
        chooser = Chooser(workbench, pick(Constraints, options), progress)
        network, images = chooser.network, quantization.calib_images
        warnings: tuple[Diagnostic, ...] = network.warnings
        if recipe is not None:
            recipe, unlike = believed(recipe, network)
            warnings = (*warnings, *unlike)
        elif program is None:
            recipe = chooser.given(config or "").recipe
        else:
            chooser.check_budgets()  # before any image is looked at
        splits = Splits.of(network, workbench.data, workbench.test, images, workbench.seed)
        if recipe is None and program is not None:
            bits = chooser.best(program)
            recipe, warnings = bits.recipe, bits.diagnostics
        assert recipe is not None
        render.diagnostics(dict.fromkeys((*warnings, *splits.warnings)))
        recipe = replace(recipe, origin=workbench.origin)
        job = Quantization(network, splits, quantization, progress)
        comparison = job.run(recipe, out, estimate, render.note)
        render.diagnostics(dict.fromkeys(comparison.quantized.diagnostics))
        return comparison
