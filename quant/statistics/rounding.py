"""Weights on their grids, as the statistics of quantization errors see them.

They are rounded to the nearest values, or as AdaRound leaves each layer that it rounds alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from emqlang import __version__
from emqlang.grammar.diagnostics import error
from emqlang.quant.data.datasets import Dataset
from emqlang.quant.networks.layers import Layer
from emqlang.quant.networks.network import Network
from emqlang.quant.networks.rows import Rows
from emqlang.quant.progress import Progress
from emqlang.quant.ptq.grids import WeightQuantizer
from emqlang.quant.ptq.rounding import BATCH
from emqlang.quant.ptq.unit_rounding import UnitRounding
from emqlang.quant.statistics import fingerprint
from emqlang.quant.statistics.cache import Cache
from emqlang.quant.statistics.images import rows_of
from emqlang.quant.statistics.options import StatisticsOptions
from emqlang.quant.statistics.subject import Rounding
from emqlang.quant.statistics.table import Measured

NAME = "rounding"  # under which the cache has the integers of a layer


@dataclass(frozen=True)
class Nearest:
    """Rounding to the nearest value."""

    quantizer: WeightQuantizer
    facts: tuple[Any, ...] = ()

    def values(self, layer: Layer, bits: int) -> Tensor:
        rows = layer.rows(layer.weight.detach())
        grid = self.quantizer.fit(rows, bits)
        return grid.values(grid.codes(rows))


@dataclass(frozen=True, eq=False)
class Learned:
    """Each layer's rounding at each width, learned once, on what the float network gives it.

    A layer that no calibration image reaches is rounded to the nearest value.

    data   what rounding is learned on; None if there are no images
    cache  keeps what is learned; None for no cache
    """

    network: Network
    options: StatisticsOptions
    widths: tuple[int, ...]
    data: Dataset | None
    cache: Cache | None
    progress: Progress

    @cached_property
    def facts(self) -> tuple[Any, ...]:
        procedure = self.options.procedure
        images = fingerprint.of_images(self._images, self.network)
        return procedure.rounding, procedure.iterations, self.options.seed, images

    def values(self, layer: Layer, bits: int) -> Tensor:
        """Raises E303 where there are no images, E308 and E312 for a network that fails."""
        grid, codes = self._units.grid(layer.name, bits), self._codes[layer.name, bits]
        return grid.values(codes).to(layer.weight.device)

    @cached_property
    def _images(self) -> Rows:
        return rows_of(self.data, self.options.procedure.images, self.network)

    @cached_property
    def _units(self) -> UnitRounding:
        if not len(self._images):
            message = f"{self.options.procedure.rounding} is learned on images, and there are none"
            raise error("E303", message, "give some with --data, or take --rounding nearest")
        batches = [batch for *_, batch in self._images.chunks(BATCH)]
        options = self.options
        return UnitRounding(
            self.network, batches, options.procedure, options.quantizer, options.seed
        )

    @cached_property
    def _codes(self) -> Mapping[tuple[str, int], Tensor]:
        """The integers of all layers at all widths."""
        names = [layer.name for layer in self.network.collection.layers]
        codes = {(name, bits): self._kept(name, bits) for name in names for bits in self.widths}
        missing = [place for place, found in codes.items() if found is None]
        for number, (name, bits) in enumerate(missing, 1):
            codes[name, bits] = self._learn(name, bits)
            self.progress(self.options.procedure.rounding, number, len(missing))
        return {place: found for place, found in codes.items() if found is not None}

    def _learn(self, name: str, bits: int) -> Tensor:
        if name in self._units.units:
            codes = self._units.learn(name, [bits])[name]
        else:
            layer = self._units.layers[name]
            codes = self._units.grid(name, bits).codes(layer.rows(layer.weight.detach()))
        if self.cache:
            self.cache.store(NAME, self._key(name, bits), Measured(codes))
        return codes

    def _kept(self, name: str, bits: int) -> Tensor | None:
        found = self.cache.load(NAME, self._key(name, bits)) if self.cache else None
        return None if found is None else found.values

    def _key(self, name: str, bits: int) -> str:
        quantizer = astuple(self.options.quantizer)
        versions = __version__, torch.__version__
        return fingerprint.digest(NAME, *versions, *self.facts, quantizer, name, bits)


def rounding_of(
    network: Network,
    options: StatisticsOptions,
    widths: tuple[int, ...],
    data: Dataset | None,
    cache: Cache | None,
    progress: Progress,
) -> Rounding:
    """What the options name; nothing is learned before it is asked for."""
    if options.procedure.learned:
        return Learned(network, options, widths, data, cache, progress)
    return Nearest(options.quantizer)
