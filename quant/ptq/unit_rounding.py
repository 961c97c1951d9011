"""Learned rounding of units alone: each on what the float network gives it, at widths of its own.

`quantize` rounds a unit on what the network quantized so far gives it; alone, a unit is learned
once for every network that it may be part of. Composed tables are made of such units, and
statistics of quantization errors under learned rounding are of such layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch

from emqlang.quant.determinism import one_thread
from emqlang.quant.networks.batches import chunks
from emqlang.quant.networks.network import Network
from emqlang.quant.ptq.grids import Grid, WeightQuantizer
from emqlang.quant.ptq.quantized import blank, install
from emqlang.quant.ptq.reach import Reach, reach
from emqlang.quant.ptq.recipe import Procedure
from emqlang.quant.ptq.rounding import BATCH, Codes, Finished, Reconstruction
from emqlang.quant.ptq.units import Unit, find_units


class UnitRounding:
    """The units of a network, and what learned rounding makes of each.

    calibration  batches, of which labels are not used
    seed         of the order in which batches are shown
    """

    def __init__(
        self,
        network: Network,
        calibration: Sequence[Any],
        procedure: Procedure,
        quantizer: WeightQuantizer,
        seed: int,
    ) -> None:
        self.network, self.calibration, self.procedure = network, calibration, procedure
        self.quantizer, self.seed = quantizer, seed
        self.layers = {layer.name: layer for layer in network.collection.layers}
        self._grids: dict[tuple[str, int], Grid] = {}

    @cached_property
    def _reach(self) -> Reach:
        layers, forward = self.network.collection.layers, self.network.forward
        return reach(self.network.module, layers, self.calibration, forward)

    @cached_property
    def units(self) -> Mapping[str, Unit]:
        """All units by name, without layers that no calibration image reaches."""
        found, blocks = self._reach, self.procedure.rounding == "brecq"
        layers = [one for name, one in self.layers.items() if name not in found.unreached]
        module, forward = blank(self.network), self.network.forward
        units = find_units(module, layers, found.examples, forward, blocks=blocks)
        return {unit.name: unit for unit in units}

    def grid(self, layer: str, bits: int) -> Grid:
        """A layer's grid, which is that of nearest rounding, too."""
        if (layer, bits) not in self._grids:
            one = self.layers[layer]
            self._grids[layer, bits] = self.quantizer.fit(one.rows(one.weight.detach()), bits)
        return self._grids[layer, bits]

    @torch.inference_mode(False)
    @torch.enable_grad()
    def learn(self, unit: str, widths: Sequence[int]) -> Codes:
        """The integers of a unit's layers at these widths, learned on one thread.

        Raises E308 and E312 for a network that fails.
        """
        names = self.units[unit].layers
        grids = {name: self.grid(name, bits) for name, bits in zip(names, widths, strict=True)}
        layers = {name: self.layers[name] for name in names}
        original, copy = blank(self.network), blank(self.network)
        for name, layer in layers.items():
            codes = grids[name].codes(layer.rows(layer.weight.detach()))
            install(copy, layer, grids[name].values(codes))
        job = Reconstruction(
            original,
            copy,
            layers,
            grids,
            chunks(self.calibration, BATCH),
            self.network.forward,
            self.procedure,
            self.seed,
            routed=self._reach.routed,
        )
        with one_thread():
            return job.run([self.units[unit]], Finished(), lambda progress: None)
