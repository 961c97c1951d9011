"""Learned rounding for composed tables: each unit learned once per combination of its choices.

It is learned on what the float network gives it. `quantize` learns a unit on what the network
quantized so far gives it: a composed table comes with a comparison of both.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from emqlang.quant.bits.exact import Bools
from emqlang.quant.bits.menu import Choice, weight_widths
from emqlang.quant.networks.layers import Layer
from emqlang.quant.networks.network import Network
from emqlang.quant.ptq.grids import WeightQuantizer
from emqlang.quant.ptq.rounding import Codes
from emqlang.quant.ptq.unit_rounding import UnitRounding
from emqlang.quant.tables.spec import Spec


class Blockwise:
    """Rounding by unit, from what is learned, which grows with what is asked for.

    known  (unit, combination) -> codes; a combination is the bits of the unit's layers: `4,2,2`
    """

    def __init__(
        self,
        network: Network,
        spec: Spec,
        calibration: Sequence[Tensor],
        known: Mapping[tuple[str, str], Codes],
    ) -> None:
        self.network, self.known = network, dict(known)
        quantizer = WeightQuantizer(spec.range)
        self.rounding = UnitRounding(network, calibration, spec.procedure, quantizer, spec.seed)
        self.units = self.rounding.units
        self._unit_of = {name: unit for unit in self.units.values() for name in unit.layers}

    def combinations(self, menu: Sequence[Choice], allowed: Bools) -> Iterator[tuple[str, str]]:
        """Every unit with every combination of what its groups may take."""
        group_of: dict[str, int] = {}
        for g, group in enumerate(self.network.collection.groups):
            group_of |= {self.network.collection.layers[i].name: g for i in group.layers}
        for unit in self.units.values():
            groups = list(dict.fromkeys(group_of[name] for name in unit.layers))
            options = [weight_widths(_free(menu, allowed[g])) for g in groups]
            for bits in product(*options):
                width = dict(zip(groups, bits, strict=True))
                yield unit.name, ",".join(str(width[group_of[name]]) for name in unit.layers)

    def learn(self, unit: str, combination: str) -> Codes:
        """The integers of a unit's layers, learned on one thread from the spec's seed."""
        return self.rounding.learn(unit, list(map(int, combination.split(","))))

    def _combination(self, layer: Layer, choices: Sequence[Choice]) -> tuple[str, str]:
        unit = self._unit_of[layer.name]
        layers = [self.rounding.layers[name] for name in unit.layers]
        widths = [choices[layer.index].weight_bits for layer in layers]
        return unit.name, ",".join(map(str, widths))

    def key(self, layer: Layer, choices: Sequence[Choice]) -> Hashable:
        return self._combination(layer, choices)

    def values(self, layer: Layer, choices: Sequence[Choice]) -> Tensor:
        key = self._combination(layer, choices)
        if key not in self.known:  # a finished table has dropped what it learned
            self.known[key] = self.learn(*key)
        codes = self.known[key]
        grid = self.rounding.grid(layer.name, choices[layer.index].weight_bits)
        return grid.values(codes[layer.name])


def _free(menu: Sequence[Choice], allowed: NDArray[np.bool_]) -> Iterator[Choice]:
    return (choice for choice, free in zip(menu, allowed, strict=True) if free)
