"""What many configurations of one network lose on images: each is put into one copy, and measured.

Weights are rounded to the nearest, as `quantize` rounds them. Inputs have the ranges that they have
in the float network, so that no configuration needs a calibration of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from emqlang.grammar.diagnostics import error
from emqlang.quant.bits.menu import Choice
from emqlang.quant.networks.batches import chunks, rows
from emqlang.quant.networks.network import Network
from emqlang.quant.ptq.calibrate import calibrate
from emqlang.quant.ptq.evaluate import Evaluation, Reference, evaluate, predict
from emqlang.quant.ptq.grids import ActivationGrid, WeightQuantizer
from emqlang.quant.ptq.quantized import QuantizedWeight, blank, install
from emqlang.quant.ptq.reach import reach
from emqlang.quant.ptq.sites import Site, attach, find_sites

BATCH: Final = 64  # images of one forward
RANGED: Final = 256  # images that ranges of inputs are found on


class Trials:
    """One network and its images, float evaluated once, on which configurations are measured.

    measure  what is measured, less is better: the loss of the labels, which it names; without
             labels the KL divergence from float, and without classes the relative error
    """

    def __init__(self, network: Network, batches: Sequence[Any], act_bits: int) -> None:
        """`act_bits` that inputs have where a choice says nothing of them. Raises E304, E308, E312,
        and E303 for images by which nothing can be told."""
        self.network, self.act_bits = network, act_bits
        self.batches = chunks(batches, BATCH)
        self.module = blank(network)
        self.reference = predict(network.module, self.batches, signature=network.signature)
        self._weights: dict[tuple[str, int], QuantizedWeight] = {}
        self._installed: dict[str, int] = {}
        self._inputs: dict[int, tuple[Sequence[Site], dict[str, ActivationGrid]]] = {}
        self._reach = reach(blank(network), network.collection.layers, self.batches, self._forward)
        self.measure = _figure(self.reference.evaluate())[0]

    @property
    def _forward(self) -> Any:
        return self.network.forward

    @property
    def images(self) -> int:
        return sum(map(rows, self.batches))

    def loss(self, choices: Sequence[Choice], share: float = 1.0) -> float:
        """What one choice for each group loses on this share of the images, the first of them."""
        count = max(1, round(share * len(self.batches)))
        reference = self.reference
        part = Reference(reference.sizes[:count], reference.answers[:count])
        widths = self._widths(choices)
        for layer in self.network.collection.layers:
            self._install(layer.name, widths[layer.name].weight_bits)
        detach = self._attach({name: c.act_bits or self.act_bits for name, c in widths.items()})
        try:
            found = evaluate(
                self.module,
                self.batches[:count],
                reference=part,
                signature=self.network.signature,
            )
        finally:
            detach()
        return _figure(found)[1]

    def _widths(self, choices: Sequence[Choice]) -> dict[str, Choice]:
        layers, groups = self.network.collection.layers, self.network.collection.groups
        pairs = zip(groups, choices, strict=True)
        return {layers[i].name: choice for group, choice in pairs for i in group.layers}

    def _install(self, name: str, bits: int) -> None:
        if self._installed.get(name) == bits:
            return
        (layer,) = [one for one in self.network.collection.layers if one.name == name]
        if (name, bits) not in self._weights:
            values = layer.rows(layer.weight.detach())
            grid = WeightQuantizer().fit(values, bits)
            self._weights[name, bits] = QuantizedWeight(grid.codes(values), grid)
        install(self.module, layer, self._weights[name, bits].values)
        self._installed[name] = bits

    def _attach(self, bits: dict[str, int]) -> Any:
        """Input quantizers at these bits, by layer; returns what removes them."""
        sites, grids = list[Site](), dict[str, ActivationGrid]()
        for width in sorted(set(bits.values())):
            found, ranged = self._ranged(width)
            for site in found:
                kept = tuple(name for name in site.layers if bits[name] == width)
                if kept:
                    sites.append(replace(site, layers=kept))
                    grids[kept[0]] = ranged[site.name]
        return attach(self.module, self.network.collection.layers, sites, grids)

    def _ranged(self, width: int) -> tuple[Sequence[Site], dict[str, ActivationGrid]]:
        """All sites at one width, and the quantizer of each."""
        if width not in self._inputs:
            layers, forward = self.network.collection.layers, self._forward
            original, sites = blank(self.network), list[Site]()
            for example in self._reach.examples:
                placed = {name for site in sites for name in site.layers}
                names = [layer.name for layer in layers if layer.name not in placed]
                wanted = dict.fromkeys(names, width)
                sites += find_sites(original, layers, example, forward, wanted)
            observers = dict.fromkeys((layer.name for layer in layers), "mse")
            some = self.batches[: -(-RANGED // BATCH)]
            grids = calibrate(original, layers, sites, some, forward, observers, 0)
            self._inputs[width] = [site for site in sites if site.name in grids], grids
        return self._inputs[width]


def _figure(found: Evaluation) -> tuple[str, float]:
    """What is measured, and how much of it. Raises E303 where there is nothing."""
    figures = (
        (found.loss_name or "", found.loss),
        ("KL from float", found.kl),
        ("relative error", found.relative_error),
    )
    for name, figure in figures:
        if figure is not None:
            return name, figure
    help = "give images with labels, or of a network whose outputs can be compared with float"
    raise error("E303", "nothing tells what quantized outputs lose on these images", help)
