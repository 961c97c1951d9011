"""A network, or a checkpoint of a quantized one, on test images."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from emqlang.grammar.diagnostics import Diagnostic, error
from emqlang.quant.data.datasets import Dataset
from emqlang.quant.models import MODELS
from emqlang.quant.networks.network import Network
from emqlang.quant.progress import Progress, silent
from emqlang.quant.ptq import evaluate as ptq
from emqlang.quant.ptq.quantized import Quantized, identity, load_quantized, read_recipe
from emqlang.quant.ptq.recipe import Origin, Recipe, check_fits
from emqlang.quant.ptq.splits import test_images
from emqlang.tasks.workbench import WorkbenchOptions

if TYPE_CHECKING:
    from emqlang.quant.integer.lowering import Accumulator
    from emqlang.quant.integer.network import IntegerNetwork


@dataclass(frozen=True)
class Integers:
    """A checkpoint in integer arithmetic.

    evaluation    its agreement, KL and relative error are from the quantized network, which
                  computes in floating point
    accumulators  every sum, with the bits that are proven to hold it
    seconds       for all images
    """

    evaluation: ptq.Evaluation
    accumulators: tuple[Accumulator, ...]
    widest: Accumulator
    seconds: float


@dataclass(frozen=True)
class Evaluated:
    """What the float network, or a checkpoint, is worth on test images; `test` names them."""

    network: Network
    checkpoint: Path | None
    test: str
    evaluation: ptq.Evaluation
    diagnostics: tuple[Diagnostic, ...]
    integers: Integers | None = None


def evaluate(
    checkpoint: Path | None,
    options: WorkbenchOptions,
    given: Container[str] = (),
    metric: str | None = None,
    progress: Progress = silent,
    *,
    integer: bool = False,
) -> Evaluated:
    """Evaluate a checkpoint, a file or the folder that `quantize` wrote, or the float network.

    given    which options the user named: the others are a checkpoint's own
    metric   a function's name, as file.py:function
    integer  whether the checkpoint is evaluated in integer arithmetic, too
    Raises E301 to E304, E308, E310 to E312, E403, E411, E412; whatever a checkpoint is refused for,
    before images are looked at.
    """
    if integer and checkpoint is None:
        message = "--integer is for a quantized network, and none is given"
        raise error("E403", message, "`emqlang quantize --avg-bits 3 --out quantized` makes one")
    if checkpoint is not None:
        recipe = read_recipe(checkpoint)
        options = completed(options, recipe, given)
    network = options.network()
    quantized = whole = None
    if checkpoint is not None:
        names = [layer.name for layer in network.collection.layers]
        check_fits(recipe, identity(network), names, network.collection.why_none)
        quantized = load_quantized(checkpoint, network)
        whole = _lowered(network, quantized) if integer else None
    images = test_images(network, options.data, options.test, options.seed)
    own = None if metric is None else ptq.load_metric(metric)
    signature = network.signature
    floating = images.followed("float", progress)
    reference = ptq.predict(network.module, floating, own, signature=signature)
    if quantized is None:
        evaluation = reference.evaluate()
    else:
        again = images.followed("quantized", progress)
        evaluation = ptq.evaluate(
            quantized.module, again, own, reference=reference, signature=signature
        )
    integers = None
    if quantized is not None and whole is not None:
        integers = _integers(whole, quantized, network, images, own, progress)
    older = () if quantized is None else quantized.diagnostics
    warnings = (*network.warnings, *images.warnings, *older)
    return Evaluated(network, checkpoint, images.source, evaluation, warnings, integers)


def _lowered(network: Network, quantized: Quantized) -> IntegerNetwork:
    from emqlang.quant.integer.network import integer_network  # torch.export takes a second

    return integer_network(network, quantized)


def _integers(
    whole: IntegerNetwork,
    quantized: Quantized,
    network: Network,
    images: Dataset,
    metric: ptq.Metric | None,
    progress: Progress,
) -> Integers:
    """The integer network beside the quantized one."""
    again = images.followed("quantized again", progress)
    reference = ptq.predict(quantized.module, again, metric, signature=network.signature)
    start = perf_counter()
    followed = images.followed("in integers", progress)
    found = ptq.evaluate(whole, followed, metric, reference=reference, signature=whole.signature)
    return Integers(found, whole.accumulators, whole.widest, perf_counter() - start)


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
