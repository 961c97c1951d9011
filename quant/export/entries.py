"""What a recipe or an allocation gives each layer, for formats that hold bits and no numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass

from emqlang.quant.bits.allocation import AllocatedLayer, Allocation
from emqlang.quant.export.subject import Subject
from emqlang.quant.networks.adapters import projections

# 4, W4, int4, and with groups 4g128, W4-g128
_WIDTH = re.compile(r"(?:w|int)?([1-9]\d?)(?:-?g([1-9]\d*))?", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class Entry:
    """One layer.

    choice    as it was chosen, 'W4' or 'Q4_K'; '' for a layer that stays in float
    bits      of its integers; None for float, or if the choice is not of whole bits
    group     numbers along a row that share a scale; None for one scale per output channel
    act_bits  of its input; None for float
    type      of the layer, 'Linear', or of the user's module that it is a part of; '' where there
              is no network
    shape     of its weight; () where there is no network
    numel     how many weights it has
    """

    name: str
    choice: str
    bits: int | None
    group: int | None = None
    act_bits: int | None = None
    type: str = ""
    shape: tuple[int, ...] = ()
    numel: int = 0

    @property
    def columns(self) -> int:
        """Numbers in a row of its weight; 0 where that is not known."""
        return self.shape[-1] if self.shape else 0


def entries(source: Subject | Allocation) -> list[Entry]:
    """The layers in their order."""
    if isinstance(source, Allocation):
        return [_chosen(name, layer) for name, layer in source.layers.items()]
    found, hidden = [], projections(source.network.module)
    for layer in source.network.collection.layers:
        scheme = source.recipe.layers[layer.name]
        bits = None if scheme.weight is None else scheme.weight.num_bits
        inputs = None if scheme.input is None else scheme.input.num_bits
        choice = "" if bits is None else f"W{bits}"
        kind = "MultiheadAttention" if layer.name in hidden else layer.type
        shape, numel = tuple(layer.weight.shape), layer.numel
        found.append(Entry(layer.name, choice, bits, None, inputs, kind, shape, numel))
    return found


def _chosen(name: str, layer: AllocatedLayer) -> Entry:
    bits, group = int(layer.bits) if layer.bits.is_integer() else None, None
    if match := _WIDTH.fullmatch(layer.choice):
        bits, group = int(match[1]), int(match[2]) if match[2] else None
    return Entry(name, layer.choice, bits, group, numel=layer.numel)
