"""A network under one configuration after another: what did not change is not run again.

What comes out is what `quantize` gives for the configuration: weights on their grids, then
activation ranges found with these weights, then the test images with both.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from emqlang.quant.bits.menu import Choice
from emqlang.quant.networks.answers import logits_of
from emqlang.quant.networks.batches import pass_through, slice_rows
from emqlang.quant.networks.layers import Layer
from emqlang.quant.networks.network import Network
from emqlang.quant.ptq.calibrate import calibrate
from emqlang.quant.ptq.grids import ActivationGrid, WeightQuantizer
from emqlang.quant.ptq.quantized import blank, install
from emqlang.quant.ptq.reach import EXAMPLES
from emqlang.quant.ptq.sites import Site, attach, find_sites
from emqlang.quant.tables.forward_order import ForwardOrder, inside
from emqlang.quant.tables.output_cache import OutputCache


class Rounding(Protocol):
    """Where rounded weights come from; equal keys mean equal weights."""

    def key(self, layer: Layer, choices: Sequence[Choice]) -> Hashable: ...
    def values(self, layer: Layer, choices: Sequence[Choice]) -> Tensor: ...


class Nearest:
    """Rounding to the nearest value: each layer on its own, once for each number of bits."""

    def __init__(self, quantizer: WeightQuantizer) -> None:
        self.quantizer = quantizer
        self._known: dict[tuple[str, int], Tensor] = {}

    def key(self, layer: Layer, choices: Sequence[Choice]) -> Hashable:
        return choices[layer.index].weight_bits

    def values(self, layer: Layer, choices: Sequence[Choice]) -> Tensor:
        bits = choices[layer.index].weight_bits
        if (layer.name, bits) not in self._known:
            rows = layer.rows(layer.weight.detach())
            grid = self.quantizer.fit(rows, bits)
            self._known[layer.name, bits] = grid.values(grid.codes(rows))
        return self._known[layer.name, bits]


class Composition:
    """One network that takes one configuration after another.

    calibration, test  batches that stay the same
    observer           how activation ranges are found
    """

    def __init__(
        self,
        network: Network,
        rounding: Rounding,
        calibration: Sequence[Any],
        test: Sequence[Any],
        *,
        act_bits: int = 8,
        observer: str = "mse",
        seed: int = 0,
    ) -> None:
        self.network, self.rounding = network, rounding
        self.calibration, self.test = calibration, test
        self.act_bits, self.observer, self.seed = act_bits, observer, seed
        self.forward = network.forward
        self.layers = network.collection.layers
        self.original, self.module = blank(network), blank(network)
        self.example = slice_rows(calibration[0], 0, EXAMPLES)
        self.order = ForwardOrder.of(self.module, self.layers, self.example, self.forward)
        self._calibration_outputs = OutputCache(self.order)
        self._test_outputs = OutputCache(self.order)
        self._installed: dict[str, Hashable] = {}
        self._grids: dict[str, tuple[Hashable, ActivationGrid]] = {}
        self._known_sites: dict[tuple[int, ...], tuple[Site, ...]] = {}

    def keys(self, choices: Sequence[Choice]) -> tuple[Hashable, ...]:
        """What stands for each layer under a configuration, in the order of a forward.

        choices  one per layer
        """
        layers = [self.layers[index] for index in self.order.layers]
        rounded = [self.rounding.key(layer, choices) for layer in layers]
        return tuple(zip(rounded, (choices[layer.index].act_bits for layer in layers), strict=True))

    def run(
        self, choices: Sequence[Choice], cuts: Sequence[int] = ()
    ) -> tuple[list[Tensor], float]:
        """The logits of the test images, in batches, and the share of all MACs that did not run.

        choices  one per layer; `cuts` as for `OutputCache.reusing`
        """
        keys = self.keys(choices)
        for layer in self.layers:
            self._install(layer, choices)
        sites, grids = self._inputs(choices, keys, cuts)
        detach = attach(self.module, self.layers, sites, grids)
        try:
            with torch.no_grad(), self._test_outputs.reusing(keys, cuts) as idle:
                outputs = (pass_through(self.module, batch, self.forward) for batch in self.test)
                return list(map(logits_of, outputs)), self._share(idle)
        finally:
            detach()

    def _install(self, layer: Layer, choices: Sequence[Choice]) -> None:
        key = self.rounding.key(layer, choices)
        if layer.name not in self._installed or self._installed[layer.name] != key:
            install(self.module, layer, self.rounding.values(layer, choices))
            self._installed[layer.name] = key

    def _inputs(
        self, choices: Sequence[Choice], keys: Sequence[Hashable], cuts: Sequence[int]
    ) -> tuple[tuple[Site, ...], Mapping[str, Callable[[Tensor], Tensor]]]:
        """Activation quantizers; those in front of which nothing has changed stay as they were."""
        sites = self._sites(tuple(choice.act_bits or self.act_bits for choice in choices))
        before = {site.name: (site.bits, *keys[: self._position(site)]) for site in sites}
        known = {name: key for name, (key, _) in self._grids.items()}
        stale = [site for site in sites if known.get(site.name) != before[site.name]]
        if stale:
            module, images, forward = self.module, self.calibration, self.forward
            observers = {site.name: self.observer for site in stale}
            with self._calibration_outputs.reusing(keys, cuts) as idle:
                running = [layer for layer in self.layers if not _within(layer, idle)]
                grids = calibrate(module, running, stale, images, forward, observers, self.seed)
            self._grids |= {name: (before[name], grid) for name, grid in grids.items()}
        return sites, {site.name: self._grids[site.name][1] for site in sites}

    def _sites(self, bits: tuple[int, ...]) -> tuple[Site, ...]:
        if bits not in self._known_sites:
            widths = {layer.name: bits[layer.index] for layer in self.layers}
            sites = find_sites(self.original, self.layers, self.example, self.forward, widths)
            self._known_sites[bits] = sites
        return self._known_sites[bits]

    def _position(self, site: Site) -> int:
        """How many layers have been read when the site's tensors are there."""
        read = (layer.index for layer in self.layers if layer.name in site.layers)
        return min(self.order.latest[index] for index in read)

    def _share(self, idle: Iterable[str]) -> float:
        """The share of the MACs that lies in these parts."""
        macs = self.network.collection.macs
        saved = sum(macs[layer.index] for layer in self.layers if _within(layer, idle))
        return saved / max(1, sum(macs))


def _within(layer: Layer, parts: Iterable[str]) -> bool:
    return any(inside(layer.name, part) for part in parts)
