"""Statistics of the layers' shapes and weights, for which nothing has to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor

from emqlang.quant.bits.menu import act_widths, weight_widths
from emqlang.quant.statistics.subject import Subject
from emqlang.quant.statistics.table import Measured

ACT_BITS: Final = 8  # of activations where the menu does not choose them


def _bits(subject: Subject, widths: tuple[int, ...]) -> Tensor:
    """One row per width, the same for all layers."""
    return subject.numbers(widths)[:, None].repeat(1, len(subject.layers))


FACTS: Final[Mapping[str, Callable[[Subject], Tensor]]] = {
    "w": lambda s: s.flat([weight.detach() for weight in s.weights]).float(),
    "numel": lambda s: s.numbers([layer.numel for layer in s.layers]),
    "act_numel": lambda s: s.numbers(s.network.collection.act_numel),
    "fan_in": lambda s: s.numbers([layer.fan_in for layer in s.layers]),
    "channels_in": lambda s: s.numbers([layer.channels_in for layer in s.layers]),
    "channels_out": lambda s: s.numbers([layer.channels_out for layer in s.layers]),
    "macs": lambda s: s.numbers(s.network.collection.macs),
    "depth": lambda s: s.numbers(range(len(s.layers))),
    "bits": lambda s: _bits(s, weight_widths(s.menu)),
    "act_bits": lambda s: _bits(s, tuple(bits or ACT_BITS for bits in act_widths(s.menu))),
}


def measure(subject: Subject, names: frozenset[str]) -> dict[str, Measured]:
    with torch.no_grad():
        return {name: Measured(FACTS[name](subject)) for name in names}
