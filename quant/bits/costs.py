"""What a choice costs: size, bit operations, average bits, latency, in integers.

`accounting` says what a size counts:
    full     weights at their bits, each layer padded to a byte; per output channel a scale at 32
             bits and a zero point at 8; biases and everything else at 32 bits
    weights  the same without scales and zero points
    emq      the paper's: a layer's weights, bias and batch norm parameters all at its bits, and
             nothing else; its bit operations count five more operations per output element (OMPQ's
             counter, which EMQ uses)
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from emqlang.grammar.diagnostics import error, nearest
from emqlang.quant.bits.budget import QUANTITIES, Budget
from emqlang.quant.bits.exact import Ints
from emqlang.quant.bits.menu import Choice
from emqlang.quant.networks.layers import Layer
from emqlang.quant.networks.network import Network
from emqlang.quant.ptq.recipe import INPUT_BITS
from emqlang.quant.ptq.sites import find_sites

FLOAT_BITS = 32
SCALE_BYTES, ZERO_POINT_BYTES = 4, 1


def size(
    network: Network, menu: Sequence[Choice], accounting: str = "full", limit: int = 0
) -> Budget:
    """Bytes of the stored network."""
    layers = network.collection.layers
    grid = SCALE_BYTES + ZERO_POINT_BYTES if accounting == "full" else 0
    emq = accounting == "emq"

    def cost(layer: Layer, choice: Choice) -> int:
        numel = layer.numel + (_extras(network, layer) if emq else 0)
        return -(-numel * choice.weight_bits // 8) + layer.channels_out * grid

    base = 0 if emq else _stored(network) * 4 - sum(layer.numel for layer in layers) * 4
    return Budget(QUANTITIES["size"], _table(network, menu, cost), base, limit, 2**20)


def bops(
    network: Network,
    menu: Sequence[Choice],
    accounting: str = "full",
    limit: int = 0,
    act_bits: int = 8,
) -> Budget:
    """Bit operations for one image: MACs x weight bits x bits of the input.

    What no layer covers counts 32 x 32, and what a layer's weight multiplies outside of its forward
    counts the weight's bits x 32.

    act_bits  of the inputs where the menu does not choose them; the network's own input has 8
    """
    macs = dict(zip(network.collection.layers, network.collection.macs, strict=True))
    elements = dict(zip(network.collection.layers, network.collection.act_numel, strict=True))
    outside = dict(zip(network.collection.layers, network.collection.outside, strict=True))
    eight = external(network)
    if accounting == "emq":  # and the last layer's input has 8 bits too
        eight |= {network.collection.layers[-1].name}

    def cost(layer: Layer, choice: Choice) -> int:
        inputs = INPUT_BITS if layer.name in eight else choice.act_bits or act_bits
        extra = elements[layer] * (1 if layer.type == "Linear" else 5) if accounting == "emq" else 0
        count = macs[layer] * (2 if accounting == "emq" and layer.type == "Linear" else 1)
        floats = 0 if accounting == "emq" else outside[layer] * FLOAT_BITS
        return ((count + extra) * inputs + floats) * choice.weight_bits

    uncovered = sum(entry.macs for entry in network.collection.uncovered)
    base = 0 if accounting == "emq" else uncovered * FLOAT_BITS * FLOAT_BITS
    return Budget(QUANTITIES["bops"], _table(network, menu, cost), base, limit, 10**9)


def average_bits(
    network: Network, menu: Sequence[Choice], limit: int = 0, free: Sequence[int] | None = None
) -> Budget:
    """Weight bits over the weights of the groups in the menu.

    free  indices of the groups that count; None for all
    """
    layers, groups = network.collection.layers, network.collection.groups
    counted = range(len(groups)) if free is None else free
    costs = _table(network, menu, lambda layer, choice: layer.numel * choice.weight_bits)
    costs[[g for g in range(len(costs)) if g not in set(counted)]] = 0
    weights = sum(layers[i].numel for g in counted for i in groups[g].layers)
    return Budget(QUANTITIES["avg-bits"], costs, 0, limit, max(1, weights))


def latency(network: Network, menu: Sequence[Choice], path: Path, limit: int = 0) -> Budget:
    """An estimate: the sum of the times of layers in a CSV.

    Its columns are `layer,choice,milliseconds`, with choices as in the menu. Raises E301 for a file
    that cannot be read, E313 for rows that are missing, unknown, repeated or not positive numbers.
    """
    times = _times(path)
    names = [layer.name for layer in network.collection.layers]
    for name, _ in times:
        if name not in names:
            message = f"the latency table names layer '{name}', which this network lacks"
            raise error("E313", message, *nearest(name, names), path=str(path))
    wanted = [(name, choice) for name in names for choice in map(str, menu)]
    if missing := [" ".join(pair) for pair in wanted if pair not in times]:
        message = f"the latency table lacks {len(missing)} rows: {', '.join(missing[:5])}"
        raise error("E313", message, path=str(path))
    costs = _table(network, menu, lambda layer, choice: times[layer.name, str(choice)])
    return Budget(QUANTITIES["latency"], costs, 0, limit, 10**6)


def external(network: Network) -> set[str]:
    """Layers that read the network's own input."""
    layers = network.collection.layers
    bits = {layer.name: INPUT_BITS for layer in layers}
    sites = find_sites(network.module, layers, network.example, network.forward, bits)
    return {name for site in sites if site.external for name in site.layers}


def _table(network: Network, menu: Sequence[Choice], cost: Callable[[Layer, Choice], int]) -> Ints:
    """(groups, choices): what the group's layers cost together."""
    layers = network.collection.layers
    rows = [
        [sum(cost(layers[i], choice) for i in group.layers) for choice in menu]
        for group in network.collection.groups
    ]
    return np.array(rows, np.int64)


def _stored(network: Network) -> int:
    """Numbers that the folded network stores: parameters, and buffers of floating point."""
    module = network.module
    buffers = [buffer for buffer in module.buffers() if buffer.is_floating_point()]
    return sum(tensor.numel() for tensor in (*buffers, *module.parameters()))


def _extras(network: Network, layer: Layer) -> int:
    """Numbers that the paper counts at the layer's bits beside its weights.

    Two per channel for its batch norm, else its bias.
    """
    if layer.name in network.folded.values():
        return 2 * layer.channels_out
    return layer.channels_out if layer.bias is not None else 0


def _times(path: Path) -> Mapping[tuple[str, str], int]:
    """(layer, choice) -> nanoseconds."""
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    except (OSError, UnicodeDecodeError) as failure:
        message = f"the latency table cannot be read: {failure}"
        raise error("E301", message, path=str(path)) from failure
    times: dict[tuple[str, str], int] = {}
    for number, row in enumerate(rows, 2):
        name, choice, text = row.get("layer"), row.get("choice"), row.get("milliseconds")
        if not name or not choice or not text:
            message = f"line {number} lacks a layer, a choice or milliseconds"
            raise error("E313", message, "columns: layer,choice,milliseconds", path=str(path))
        if (name, choice) in times:
            raise error("E313", f"line {number} repeats {name} {choice}", path=str(path))
        try:
            milliseconds = float(text)
        except ValueError:
            milliseconds = -1.0
        if not 0 <= milliseconds < 1e9:
            message = f"line {number}: '{text}' is not a time in milliseconds"
            raise error("E313", message, path=str(path))
        times[name, choice] = round(milliseconds * 10**6)
    return times
