"""Post-training quantization: from a network, a recipe and some images to the quantized network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from msgspec.structs import replace
from torch import nn

from emqlang.grammar.diagnostics import error, nearest
from emqlang.quant.networks.batches import Forward, chunks, join, slice_rows, take
from emqlang.quant.networks.layers import Layer
from emqlang.quant.networks.network import Network
from emqlang.quant.ptq.bias import correct_biases
from emqlang.quant.ptq.calibrate import calibrate
from emqlang.quant.ptq.fidelity import compare_layers, outputs
from emqlang.quant.ptq.grids import ActivationGrid, Grid, WeightQuantizer
from emqlang.quant.ptq.quantized import Quantized, QuantizedWeight, blank, identity, install
from emqlang.quant.ptq.recipe import ROUNDINGS, LayerRecipe, Procedure, Recipe, check_fits
from emqlang.quant.ptq.rounding import (
    BATCH,
    SCHEDULE,
    Codes,
    Finished,
    Reconstruction,
    Report,
    RoundingProgress,
    Schedule,
)
from emqlang.quant.ptq.sites import Site, attach, find_sites
from emqlang.quant.ptq.units import find_units

NEAREST = Procedure()
EXAMPLES = 8  # images of the forward that shows which layers read the same tensor
COMPARED = 64  # images by which layers are compared with float
MEANS = 256  # images whose mean outputs correct the biases


def _ignore(_: RoundingProgress) -> None: ...


@torch.inference_mode(False)
@torch.enable_grad()
def quantize(
    network: Network,
    recipe: Recipe,
    data: Iterable[Any],
    procedure: Procedure = NEAREST,
    *,
    schedule: Schedule = SCHEDULE,
    finished: Finished | None = None,
    progress: Report = _ignore,
) -> Quantized:
    """The network quantized by the recipe; deterministic from the recipe's seed.

    data      batches, of which labels are not used
    finished  what an interrupted run has rounded already; new units join it
    progress  hears how far learned rounding is, first with an estimate of the whole time
    Raises E304 for too few images, and where they do not run every layer; E308 and E312 for a
    network that fails, E311 for another network's recipe, E403 for an unknown rounding.
    """
    _check_rounding(procedure)
    layers, forward = network.collection.layers, network.forward
    check_fits(recipe, identity(network), [layer.name for layer in layers])
    batches = take(data, procedure.images)
    original, module = blank(network), blank(network)
    example = slice_rows(batches[0], 0, EXAMPLES)
    _check_reached(original, layers, example, forward)

    grids = _grids(layers, recipe)
    rounded = {layer.name: layer for layer in layers if layer.name in grids}
    codes: Codes = {
        name: grids[name].codes(layer.rows(layer.weight.detach()))
        for name, layer in rounded.items()
    }
    for name, layer in rounded.items():
        install(module, layer, grids[name].values(codes[name]))
    if procedure.learned:
        blocks = procedure.rounding == "brecq"
        units = find_units(original, list(rounded.values()), example, forward, blocks=blocks)
        small, seed = chunks(batches, BATCH), recipe.seed
        job = Reconstruction(
            original, module, rounded, grids, small, forward, procedure, seed, schedule
        )
        codes = job.run(units, finished or Finished(), progress)

    sites, inputs = _inputs(original, module, layers, recipe, batches, forward)
    attach(module, layers, sites, inputs)
    if procedure.bias_correction:
        correct_biases(original, module, layers, join(batches, MEANS), forward)

    written = _written(recipe, sites, procedure)
    compared = slice_rows(batches[0], 0, COMPARED)
    report = compare_layers(original, module, layers, written, compared, forward)
    weights = {name: QuantizedWeight(code, grids[name]) for name, code in codes.items()}
    return Quantized(
        module, written, weights, [(site, inputs[site.name]) for site in sites], report
    )


def _check_rounding(procedure: Procedure) -> None:
    """Raises E403."""
    if (rounding := procedure.rounding) not in ROUNDINGS:
        help = (*nearest(rounding, ROUNDINGS), f"one of {', '.join(ROUNDINGS)}")
        raise error("E403", f"rounding '{rounding}' is unknown", *help)


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
    """Activation quantizers and their places, calibrated with the weights quantized already."""
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
    return replace(recipe, layers=layers, procedure=procedure.recorded())
