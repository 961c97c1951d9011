"""Post-training quantization: from a network, a recipe and some images to the quantized network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from msgspec import UNSET
from msgspec.structs import replace
from torch import nn

from emqlang.grammar.diagnostics import error, nearest
from emqlang.quant.networks.batches import chunks, join, slice_rows, take
from emqlang.quant.networks.layers import Layer
from emqlang.quant.networks.network import Network
from emqlang.quant.networks.signature import Forward
from emqlang.quant.ptq.bias import correct_biases
from emqlang.quant.ptq.calibrate import calibrate
from emqlang.quant.ptq.fidelity import compare_layers
from emqlang.quant.ptq.grids import ActivationGrid, Grid, WeightQuantizer
from emqlang.quant.ptq.quantized import (
    Quantized,
    QuantizedWeight,
    blank,
    identity,
    install,
    unreached,
)
from emqlang.quant.ptq.reach import Reach, reach
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
    A layer that no image reaches is rounded to the nearest, and its input stays in float: W615.
    Raises E304 for too few images; E308 and E312 for a network that fails, E311 for another
    network's recipe, E403 for an unknown rounding.
    """
    _check_rounding(procedure)
    layers, forward = network.collection.layers, network.forward
    names = [layer.name for layer in layers]
    check_fits(recipe, identity(network), names, network.collection.why_none)
    batches = take(data, procedure.images)
    original, module = blank(network), blank(network)
    reached = reach(original, layers, batches, forward)
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
        left = [layer for layer in rounded.values() if layer.name not in reached.unreached]
        units = find_units(original, left, reached.examples, forward, blocks=blocks)
        small, seed, routed = chunks(batches, BATCH), recipe.seed, reached.routed
        job = Reconstruction(
            original, module, rounded, grids, small, forward, procedure, seed, schedule, routed
        )
        codes = {**codes, **job.run(units, finished or Finished(), progress)}

    sites, inputs = _inputs(original, module, layers, recipe, batches, reached, forward)
    attach(module, layers, sites, inputs)
    if procedure.bias_correction:
        once = [layer for layer in layers if layer.name not in reached.routed]
        correct_biases(original, module, once, join(batches, MEANS), forward)

    written = _written(recipe, sites, procedure, reached.unreached)
    compared = slice_rows(batches[0], 0, COMPARED)
    report = compare_layers(original, module, layers, written, compared, forward, reached.routed)
    weights = {name: QuantizedWeight(code, grids[name]) for name, code in codes.items()}
    placed = [(site, inputs[site.name]) for site in sites]
    return Quantized(module, written, weights, placed, report, unreached(written))


def _check_rounding(procedure: Procedure) -> None:
    """Raises E403."""
    if (rounding := procedure.rounding) not in ROUNDINGS:
        help = (*nearest(rounding, ROUNDINGS), f"one of {', '.join(ROUNDINGS)}")
        raise error("E403", f"rounding '{rounding}' is unknown", *help)


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
    reached: Reach,
    forward: Forward,
) -> tuple[list[Site], dict[str, ActivationGrid]]:
    """Activation quantizers and their places, calibrated with the weights quantized already."""
    schemes = {layer.name: recipe.layers[layer.name].input for layer in layers}
    bits = {name: None if scheme is None else scheme.num_bits for name, scheme in schemes.items()}
    sites: list[Site] = []
    for example in reached.examples:
        placed = {name for site in sites for name in site.layers}
        others = {name: width for name, width in bits.items() if name not in placed}
        sites += find_sites(original, layers, example, forward, others)
    observers = {name: scheme.observer for name, scheme in schemes.items() if scheme is not None}
    grids = calibrate(module, layers, sites, batches, forward, observers, recipe.seed, original)
    return [site for site in sites if site.name in grids], grids


def _written(
    recipe: Recipe, sites: Sequence[Site], procedure: Procedure, unreached: Sequence[str]
) -> Recipe:
    """The recipe with what was done, and with the bits of the network's own input.

    Inputs that no calibration row reached stay in float; what the bits cost is then not known.
    """
    width = {name: site.bits for site in sites for name in site.layers}
    layers = {
        name: LayerRecipe(
            entry.weight,
            replace(entry.input, num_bits=width[name]) if entry.input and name in width else None,
        )
        for name, entry in recipe.layers.items()
    }
    dropped = {name for name in layers if recipe.layers[name].input and not layers[name].input}
    missed = tuple(name for name in layers if name in dropped.union(unreached))
    done = procedure.recorded()
    written = replace(
        recipe, layers=layers, procedure=done, unreached=missed or UNSET, training=UNSET
    )
    return replace(written, achieved={}, budget={}, solver=None) if dropped else written
