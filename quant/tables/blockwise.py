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
from emqlang.quant.networks.batches import chunks, slice_rows
from emqlang.quant.networks.layers import Layer
from emqlang.quant.networks.network import Network
from emqlang.quant.ptq.grids import Grid, WeightQuantizer
from emqlang.quant.ptq.quantized import blank, install
from emqlang.quant.ptq.reach import EXAMPLES
from emqlang.quant.ptq.rounding import BATCH, Codes, Finished, Reconstruction
from emqlang.quant.ptq.units import find_units
from emqlang.quant.tables.spec import Spec


class Blockwise:
    """Rounding by unit, from what is learned.

    known  (unit, combination) -> codes; a combination is the bits of the unit's layers: `4,2,2`
    """

    def __init__(
        self,
        network: Network,
        spec: Spec,
        calibration: Sequence[Tensor],
        known: Mapping[tuple[str, str], Codes],
    ) -> None:
        self.network, self.spec, self.calibration, self.known = network, spec, calibration, known
        self.layers = {layer.name: layer for layer in network.collection.layers}
        example, blocks = slice_rows(calibration[0], 0, EXAMPLES), spec.rounding == "brecq"
        layers, forward = network.collection.layers, network.forward
        units = find_units(blank(network), layers, [example], forward, blocks=blocks)
        self.units = {unit.name: unit for unit in units}
        self._unit_of = {name: unit for unit in units for name in unit.layers}
        self._grids: dict[tuple[str, int], Grid] = {}

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
        names = self.units[unit].layers
        bits = dict(zip(names, map(int, combination.split(",")), strict=True))
        grids = {name: self._grid(name, width) for name, width in bits.items()}
        original, copy = blank(self.network), blank(self.network)
        for name, grid in grids.items():
            rows = self.layers[name].rows(self.layers[name].weight.detach())
            install(copy, self.layers[name], grid.values(grid.codes(rows)))
        layers = {name: self.layers[name] for name in names}
        small, spec, forward = chunks(self.calibration, BATCH), self.spec, self.network.forward
        job = Reconstruction(
            original, copy, layers, grids, small, forward, spec.procedure, spec.seed
        )
        return job.run([self.units[unit]], Finished(), lambda progress: None)

    def _grid(self, name: str, bits: int) -> Grid:
        if (name, bits) not in self._grids:
            layer, quantizer = self.layers[name], WeightQuantizer(self.spec.range)
            self._grids[name, bits] = quantizer.fit(layer.rows(layer.weight.detach()), bits)
        return self._grids[name, bits]

    def _combination(self, layer: Layer, choices: Sequence[Choice]) -> tuple[str, str]:
        unit = self._unit_of[layer.name]
        widths = [choices[self.layers[name].index].weight_bits for name in unit.layers]
        return unit.name, ",".join(map(str, widths))

    def key(self, layer: Layer, choices: Sequence[Choice]) -> Hashable:
        return self._combination(layer, choices)

    def values(self, layer: Layer, choices: Sequence[Choice]) -> Tensor:
        codes = self.known[self._combination(layer, choices)]
        return self._grid(layer.name, choices[layer.index].weight_bits).values(codes[layer.name])


def _free(menu: Sequence[Choice], allowed: NDArray[np.bool_]) -> Iterator[Choice]:
    return (choice for choice, free in zip(menu, allowed, strict=True) if free)
