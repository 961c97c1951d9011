"""Post-training quantization: from a network, a recipe and some images to the quantized network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from emqlang.grammar.diagnostics import error, nearest
from emqlang.quant.networks.batches import chunks, feed, join, slice_rows, take
from emqlang.quant.networks.layers import Layer
from emqlang.quant.networks.network import Network
from emqlang.quant.networks.tracing import Forward
from emqlang.quant.ptq.bias import correct_biases
from emqlang.quant.ptq.calibrate import calibrate
from emqlang.quant.ptq.fidelity import compare_layers, outputs
from emqlang.quant.ptq.grids import ActivationGrid, Grid, WeightQuantizer
from emqlang.quant.ptq.quantized import Quantized, QuantizedWeight, blank, identity, install
from emqlang.quant.ptq.recipe import LayerRecipe, Procedure, Recipe, check_fits
from emqlang.quant.ptq.rounding import BATCH, Codes, Reconstruction, Report, Schedule
from emqlang.quant.ptq.sites import Site, attach, find_sites
from emqlang.quant.ptq.steps import learn_steps
from emqlang.quant.ptq.units import find_units

ROUNDINGS = ("nearest", "adaround", "brecq")
CALIBRATION_IMAGES = 1024
EXAMPLES = 8  # images of the forward that shows which layers read the same tensor
COMPARED = 64  # images by which layers are compared with float
MEANS = 256  # images whose mean outputs correct the biases


def _ignore(_: Any) -> None: ...


@torch.inference_mode(False)
@torch.enable_grad()
def quantize(
    network: Network,
    recipe: Recipe,
    data: Iterable[Any],
    *,
    rounding: str = "nearest",
    images: int = CALIBRATION_IMAGES,
    iterations: int = 20_000,
    schedule: Schedule | None = None,
    bias_correction: bool = False,
    fisher: bool = False,
    step_iterations: int = 0,
    forward: Forward = feed,
    progress: Report = _ignore,
    save: Callable[[Codes], None] = _ignore,
    finished: Mapping[str, Tensor] | None = None,
) -> Quantized:
    """The network quantized by the recipe; deterministic from the recipe's seed.

    data             batches whose first `images` images calibrate; labels are not used
    rounding         'nearest', 'adaround' (learned layer by layer) or 'brecq' (block by block)
    iterations       of the learned rounding, a unit; `schedule` has its other settings
    bias_correction  move biases so that every channel's mean output is the float one
    fisher           weigh the output errors of a unit by the gradient of the network's own answer
    step_iterations  of learning the activation quantizers' scales, a unit; 0 leaves them as calibrated
    progress         told how far the learned rounding is; its first report holds an estimate of the whole time
    save, finished   `save` is given the integers of all layers after every unit; a later call goes on from them
    Raises E304 for too few images, and where they do not run every layer; E308 and E312 for a network that fails, E311 for
    another network's recipe, E403.
    """
    if rounding not in ROUNDINGS:
        raise error(
            "E403",
            f"rounding '{rounding}' is unknown",
            *nearest(rounding, ROUNDINGS),
            f"one of {', '.join(ROUNDINGS)}",
        )
    layers = network.collection.layers
    check_fits(recipe, identity(network), [layer.name for layer in layers])
    batches = take(data, images)
    module, original = blank(network), blank(network)
    example = slice_rows(batches[0], 0, EXAMPLES)
    _check_reached(original, layers, example, forward)
    grids = _grids(layers, recipe)
    rounded = [layer for layer in layers if layer.name in grids]
    codes = {
        layer.name: grids[layer.name].codes(layer.rows(layer.weight.detach())) for layer in rounded
    }
    for layer in rounded:
        install(module, layer, grids[layer.name].values(codes[layer.name]))

    if rounding != "nearest":
        units = find_units(original, rounded, example, forward, blocks=rounding == "brecq")
        job = Reconstruction(
            original, module, {layer.name: layer for layer in rounded}, grids, chunks(batches, BATCH), forward,
            replace(schedule or Schedule(), iterations=iterations), fisher, recipe.seed,
        )  # fmt: skip
        codes = job.run(units, finished=finished or {}, report=progress, save=save)

    sites, inputs = _inputs(original, module, layers, recipe, batches, forward)
    if step_iterations:
        units = find_units(original, layers, example, forward, blocks=True)
        small = chunks(batches, BATCH)
        inputs = learn_steps(
            original,
            module,
            layers,
            units,
            sites,
            inputs,
            small,
            forward,
            step_iterations,
            recipe.seed,
        )
    attach(module, layers, sites, inputs)
    if bias_correction:
        correct_biases(original, module, layers, join(batches, MEANS), forward)

    learned = rounding != "nearest"
    procedure = Procedure(
        rounding,
        images,
        iterations if learned else 0,
        bias_correction,
        fisher and learned,
        step_iterations,
    )
    written = _written(recipe, sites, procedure)
    report = compare_layers(
        original, module, layers, written, slice_rows(batches[0], 0, COMPARED), forward
    )
    weights = {name: QuantizedWeight(code, grids[name]) for name, code in codes.items()}
    return Quantized(
        module, written, weights, [(site, inputs[site.name]) for site in sites], report
    )


def _check_reached(
    module: nn.Module, layers: Sequence[Layer], example: Any, forward: Forward
) -> None:
    """Raises E304 if the first images do not run every layer."""
    reached = outputs(module, layers, example, forward)
    if missing := [layer.name for layer in layers if layer.name not in reached]:
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise error(
            "E304",
            f"the first {EXAMPLES} calibration images do not run layer '{missing[0]}'{others}",
            "put images that reach every layer first",
        )


def _grids(layers: Sequence[Layer], recipe: Recipe) -> dict[str, Grid]:
    """The weight grid of every layer that has one."""
    grids = {}
    for layer in layers:
        if (scheme := recipe.layers[layer.name].weight) is not None:
            quantizer = WeightQuantizer(scheme.observer, scheme.symmetric)
            grids[layer.name] = quantizer.fit(layer.rows(layer.weight.detach()), scheme.num_bits)
    return grids


def _inputs(
    original: nn.Module,
    module: nn.Module,
    layers: Sequence[Layer],
    recipe: Recipe,
    batches: Sequence[Any],
    forward: Forward,
) -> tuple[tuple[Site, ...], dict[str, ActivationGrid]]:
    """Activation quantizers and their places, calibrated on the network with its weights quantized already."""
    schemes = {layer.name: recipe.layers[layer.name].input for layer in layers}
    bits = {name: None if scheme is None else scheme.num_bits for name, scheme in schemes.items()}
    sites = find_sites(original, layers, slice_rows(batches[0], 0, EXAMPLES), forward, bits)
    observers = {name: scheme.observer for name, scheme in schemes.items() if scheme is not None}
    return sites, calibrate(module, layers, sites, batches, forward, observers, recipe.seed)


def _written(recipe: Recipe, sites: Sequence[Site], procedure: Procedure) -> Recipe:
    """The recipe with what was done, and with the bits of the network's own input."""
    width = {name: site.bits for site in sites for name in site.layers}
    layers = {
        name: LayerRecipe(
            entry.weight,
            None if entry.input is None else replace(entry.input, num_bits=width[name]),
        )
        for name, entry in recipe.layers.items()
    }
    return replace(recipe, layers=layers, procedure=procedure)
