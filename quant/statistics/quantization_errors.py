"""The errors that quantization makes in the weights, and in the layers' inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
from torch import Tensor

from emqlang.quant.bits.menu import act_widths, weight_widths
from emqlang.quant.networks.batches import slice_rows
from emqlang.quant.networks.layers import readers
from emqlang.quant.networks.tracing import plain_kernels
from emqlang.quant.ptq.calibrate import RANGES, observe
from emqlang.quant.ptq.grids import ActivationGrid
from emqlang.quant.ptq.sites import Site, find_sites, reading
from emqlang.quant.statistics.image_pass import no
from emqlang.quant.statistics.shape import ACT_BITS
from emqlang.quant.statistics.subject import Subject
from emqlang.quant.statistics.table import Measured

BATCH: Final = 32
EXAMPLES: Final = 8  # images of the forward that shows which layers read the same tensor
RANGE: Final = "mse"  # how the inputs' ranges are found


def measure_weights(subject: Subject, names: frozenset[str]) -> dict[str, Measured]:
    """`qerr`: quantized minus original weight, one row per width."""
    widths = weight_widths(subject.menu)
    rows = []
    for number, bits in enumerate(widths, 1):
        errors = [weight_error(subject, layer.index, bits) for layer in subject.layers]
        rows.append(subject.flat(errors))
        subject.progress("qerr", number, len(widths))
    return {"qerr": Measured(torch.stack(rows).float())}


def weight_errors(subject: Subject) -> list[Tensor]:
    """Of each layer, its weight's errors (widths, n)."""
    widths = weight_widths(subject.menu)
    return [
        torch.stack([weight_error(subject, layer.index, bits) for bits in widths]).flatten(1)
        for layer in subject.layers
    ]


def weight_error(subject: Subject, index: int, bits: int) -> Tensor:
    """A layer's quantized weight minus its own, in the weight's shape."""
    return quantized_weight(subject, index, bits) - subject.weights[index].detach()


def quantized_weight(subject: Subject, index: int, bits: int) -> Tensor:
    """A layer's weight on its grid, by the rounding in use, in the weight's shape."""
    layer = subject.layers[index]
    return layer.unrows(subject.rounding.values(layer, bits))


@dataclass(frozen=True)
class InputGrids:
    """The quantizers of the layers' inputs: the sites where they sit, and `grids[layer][bits]`."""

    sites: tuple[Site, ...]
    grids: Mapping[str, Mapping[int, ActivationGrid]]


def find_inputs(subject: Subject) -> InputGrids:
    """Quantizers of all inputs at the menu's activation bits, from two passes of the float network.

    Layers that read the same tensor share one; the network's own input has its fixed bits, whatever
    is chosen.
    """
    module, layers, forward = subject.module, subject.layers, subject.network.forward
    batches = [shown.batch for shown in subject.batches(BATCH)]
    widths = input_widths(subject)
    bits_of = {layer.name: widths[0] for layer in layers}
    with plain_kernels():
        first = slice_rows(batches[0], 0, EXAMPLES)
        sites = find_sites(module, layers, first, forward, bits_of)
        for batch in batches:  # those that the first images do not reach
            known = {name for site in sites for name in site.layers}
            left = {name: bits for name, bits in bits_of.items() if name not in known}
            sites += find_sites(module, layers, batch, forward, left) if left else ()
        ranges = observe(module, layers, sites, batches, forward, subject.options.seed)
    grids: dict[str, Mapping[int, ActivationGrid]] = {}
    for site in sites:
        fit = partial(RANGES[RANGE], ranges[site.name])
        by_bits = {bits: fit(site.bits if site.external else bits) for bits in widths}
        grids.update(dict.fromkeys(site.layers, by_bits))
    return InputGrids(sites, grids)


def input_widths(subject: Subject) -> list[int]:
    """The activation bits of the menu."""
    return [bits or ACT_BITS for bits in act_widths(subject.menu)]


def measure_inputs(subject: Subject, names: frozenset[str]) -> dict[str, Measured]:
    """`act_qerr`: the mean squared error of quantizing each layer's input, one row per width."""
    inputs, widths = find_inputs(subject), input_widths(subject)
    sums = {site.name: subject.zeros(len(widths) + 1) for site in inputs.sites}

    def read(name: str, tensor: Tensor) -> None:
        for row, bits in enumerate(widths):
            error = inputs.grids[name][bits](tensor) - tensor
            sums[name][row] += error.square().sum(dtype=torch.float64)
        sums[name][-1] += tensor.numel()

    modules = readers(subject.module, [layer for layer in subject.layers if layer.name in sums])
    for shown in subject.batches(BATCH):
        with torch.no_grad(), plain_kernels(), reading(modules, read):
            subject.answer(shown.batch)
        subject.progress("act_qerr", shown.stop, len(subject.images))
    site_of = {name: site.name for site in inputs.sites for name in site.layers}
    nothing = subject.zeros(len(widths) + 1)
    columns = [sums.get(site_of.get(layer.name, ""), nothing) for layer in subject.layers]
    means = torch.stack([column[:-1] / column[-1].clamp(min=1) for column in columns], 1)
    unread = [index for index, column in enumerate(columns) if not column[-1]]
    reason = no("data", len(subject.images))
    return {"act_qerr": Measured(means, unmeasured=dict.fromkeys(unread, reason))}
