"""`emqlang quantize`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from emqlang.cli.base import declare
from emqlang.cli.options import POSITIVE, Expression, as_json, budgets, network, parted
from emqlang.grammar import library
from emqlang.views import render


@declare(
    "quantize",
    "emqlang quantize fisher_error --avg-bits 3",
    "emqlang quantize --recipe recipe.json --rounding brecq --iters 1000 --out quantized",
    "emqlang quantize --config 4 --rounding adaround --iters 500",
)
@click.argument("word", metavar="[EXPR]", type=Expression(), required=False)
@click.option(
    "--recipe",
    "recipe_path",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Bits that `assign` chose.",
)
@click.option(
    "--config",
    metavar="LIST|FILE",
    help="Bits of your own: one for all, a group or a layer, or a JSON of names to bits.",
)
@click.option(
    "--rounding",
    type=click.Choice(["nearest", "adaround", "brecq"]),
    default="nearest",
    show_default=True,
    help="To the nearest value, or learned layer by layer, or block by block.",
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
    "--range",
    type=click.Choice(["mse", "minmax", "percentile"]),
    default="mse",
    show_default=True,
    help="How ranges of weights and activations are found.",
)
@click.option(
    "--calib-images", type=POSITIVE, default=1024, show_default=True, help="Images that calibrate."
)
@click.option(
    "--bias-correction", is_flag=True, help="Move biases so that mean outputs are the float ones."
)
@click.option(
    "--fisher",
    is_flag=True,
    help="Weigh output errors by the gradient of the network's own answer.",
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
    "--test",
    metavar="WHAT",
    help="Images to test on, as --data.  [default: the network's own, or all of --data]",
)
@click.option(
    "--out",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write recipe.json and model.safetensors.",
)
@budgets
@network
@as_json
@click.pass_context
def command(
    ctx: click.Context,
    /,
    word: str | None,
    recipe_path: Path | None,
    config: str | None,
    test: str | None,
    out: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Quantize a network after training, and say what that costs.

    The bits come from a recipe, from a configuration, or from a proxy, EXPR, and a budget.
    """
    if sum(given is not None for given in (word, recipe_path, config)) != 1:
        ctx.fail("give one of --recipe, --config, and an EXPR with a budget")
    program = library.find_one(word or "bits")
    from emqlang.quant.ptq.recipe import load_recipe
    from emqlang.quant.ptq.splits import Splits
    from emqlang.tasks.assign import Choosing
    from emqlang.tasks.quantize import MODEL, RECIPE, Method, Quantization
    from emqlang.views import quantize as outcome

    method = Method(**{name: options.pop(name) for name in Method.__dataclass_fields__})
    settings, wish = parted(options)
    with render.progress() as progress:
        choosing = Choosing(settings, wish, progress)
        net = choosing.problem.network
        if recipe_path is not None:
            recipe = load_recipe(recipe_path)
        else:
            bits, notices = choosing.best(program) if config is None else choosing.given(config)
            recipe = bits.recipe
            render.diagnostics(notices)
        splits = Splits.of(net, settings.data, test, method.calib_images, settings.seed)
        estimate = lambda seconds: render.note(
            f"{method.rounding} will take about {render.duration(seconds)}"
        )  # noqa: E731
        done = Quantization(net, splits, method, progress).run(recipe, out, estimate)
    if out is not None:
        done.quantized.recipe.save(out / RECIPE)
        done.quantized.save(out / MODEL)
    (outcome.as_json if as_json else outcome.screen)(net, done, out)
