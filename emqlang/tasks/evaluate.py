"""A network, or a checkpoint of a quantized one, on test images."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from emqlang.grammar.diagnostics import Diagnostic, error
from emqlang.quant.models import MODELS
from emqlang.quant.networks.network import Network
from emqlang.quant.progress import Progress, silent
from emqlang.quant.ptq import evaluate as ptq
from emqlang.quant.ptq.quantized import identity, load_quantized, read_recipe
from emqlang.quant.ptq.recipe import Origin, Recipe, check_fits
from emqlang.quant.ptq.splits import test_images
from emqlang.tasks.workbench import WorkbenchOptions


@dataclass(frozen=True)
class Evaluated:
    """What the float network, or a checkpoint, is worth on test images; `test` names them."""

    network: Network
    checkpoint: Path | None
    test: str
    evaluation: ptq.Evaluation
    diagnostics: tuple[Diagnostic, ...]


def evaluate(
    checkpoint: Path | None,
    options: WorkbenchOptions,
    given: Container[str] = (),
    metric: str | None = None,
    progress: Progress = silent,
) -> Evaluated:
    """Evaluate a checkpoint, a file or the folder that `quantize` wrote, or the float network.

    given   which options the user named: the others are a checkpoint's own
    metric  a function's name, as file.py:function
    Raises E301 to E304, E308, E310 to E312; whatever a checkpoint is refused for, before images are
    looked at.
    """
    if checkpoint is not None:
        recipe = read_recipe(checkpoint)
        options = completed(options, recipe, given)
    network = options.network()
    if checkpoint is not None:
        names = [layer.name for layer in network.collection.layers]
        check_fits(recipe, identity(network), names, network.collection.why_none)
    images = test_images(network, options.data, options.test, options.seed)
    own = None if metric is None else ptq.load_metric(metric)
    signature = network.signature
    floating = images.followed("float", progress)
    reference = ptq.predict(network.module, floating, own, signature=signature)
    if checkpoint is None:
        evaluation = reference.evaluate()
    else:
        quantized = load_quantized(checkpoint, network)
        module = quantized.module
        again = images.followed("quantized", progress)
        evaluation = ptq.evaluate(module, again, own, reference=reference, signature=signature)
    older = () if checkpoint is None else quantized.diagnostics
    warnings = (*network.warnings, *images.warnings, *older)
    return Evaluated(network, checkpoint, images.source, evaluation, warnings)


def completed(
    options: WorkbenchOptions, recipe: Recipe, given: Container[str] = ()
) -> WorkbenchOptions:
    """The options with what a recipe says of the network, its weights and its images.

    Raises E305 for a network that has no name to be found by.
    """
    name, origin = recipe.model.name, recipe.origin or Origin()
    if "model" not in given and name not in MODELS and ":" not in name:
        message = f"the recipe is of '{name}', a network that was given in Python"
        raise error("E305", message, "name what builds it: --model file.py:factory")
    own: dict[str, Any] = {
        "model": name,
        "weights": origin.weights or None,
        "data": origin.data or None,
        "input": origin.input or None,
        "forward": origin.forward or None,
        "seed": origin.seed,
    }
    return replace(options, **{name: value for name, value in own.items() if name not in given})
