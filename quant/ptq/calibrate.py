"""Activation ranges: one pass over the calibration images with bounded memory.

Of every tensor to quantize, the exact minimum and maximum are kept, and SAMPLES of its values,
drawn evenly over the images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from emqlang.grammar.diagnostics import error
from emqlang.quant.determinism import generator
from emqlang.quant.networks.batches import pass_through, rows
from emqlang.quant.networks.layers import Layer, readers
from emqlang.quant.networks.signature import Forward
from emqlang.quant.ptq.grids import ActivationGrid
from emqlang.quant.ptq.sites import Site, reading

SAMPLES = 1 << 18  # values kept of one tensor
PERCENTILE = 99.99


@dataclass
class Observed:
    """What was seen of one site's tensor: its extremes, and a sample of its values."""

    low: float = math.inf
    high: float = -math.inf
    parts: list[Tensor] = field(default_factory=list)

    def add(self, tensor: Tensor, share: float, generator: torch.Generator, layer: str) -> None:
        """Take in one more tensor, of which about SAMPLES * share values are kept.

        Raises E312 for values that are not finite.
        """
        if not tensor.numel():
            return
        low, high = (float(end) for end in torch.aminmax(tensor))
        if not abs(low) + abs(high) < math.inf:
            message = f"the input of layer '{layer}' holds values that are not finite"
            help = "check the images and the weights: the float network itself gives them"
            raise error("E312", message, help)
        self.low, self.high = min(self.low, low), max(self.high, high)
        wanted = max(1, round(SAMPLES * share))
        flat = tensor.flatten()
        if wanted < len(flat):
            flat = flat[torch.randint(len(flat), (wanted,), generator=generator).to(flat.device)]
        self.parts.append(flat.float().cpu())

    @property
    def sample(self) -> Tensor:
        return torch.cat(self.parts)


def calibrate(
    module: nn.Module,
    layers: Sequence[Layer],
    sites: Sequence[Site],
    batches: Sequence[Any],
    forward: Forward,
    observers: Mapping[str, str],
    seed: int,
    original: nn.Module | None = None,
) -> dict[str, ActivationGrid]:
    """The quantizer of every site, by its name; `observers` says for each how the range is found.

    The range always contains 0, and a tensor that is one constant is represented exactly.

    original  the float network, whose rows stand in at sites where this one is given none; a site
              that neither gives any has no quantizer
    """
    seen = observe(module, layers, sites, batches, forward, seed)
    idle = [site for site in sites if not seen[site.name].parts]
    if idle and original is not None:
        seen |= observe(original, layers, idle, batches, forward, seed)
    return {
        site.name: _grid(seen[site.name], site.bits, observers[site.name])
        for site in sites
        if seen[site.name].parts
    }


def _grid(seen: Observed, bits: int, observer: str) -> ActivationGrid:
    if seen.low == seen.high:
        return ActivationGrid(bits, abs(seen.low) or 1.0, int(seen.low < 0))
    return RANGES[observer](seen, bits)


def observe(
    module: nn.Module,
    layers: Sequence[Layer],
    sites: Sequence[Site],
    batches: Sequence[Any],
    forward: Forward,
    seed: int,
) -> dict[str, Observed]:
    """What every site's tensor held in one pass of all batches.

    A site's sample does not depend on the other sites.
    """
    seen = {site.name: Observed() for site in sites}
    generators = {site.name: generator(f"sample of {site.name}", seed) for site in sites}
    modules = readers(module, [layer for layer in layers if layer.name in seen])
    images = sum(map(rows, batches))
    with torch.no_grad():
        for batch in batches:
            share = rows(batch) / images

            def read(name: str, tensor: Tensor, share: float = share) -> None:
                seen[name].add(tensor, share, generators[name], name)

            with reading(modules, read):
                pass_through(module, batch, forward)
    return seen


def _minmax(seen: Observed, bits: int) -> ActivationGrid:
    return ActivationGrid.spanning(seen.low, seen.high, bits)


def _percentile(seen: Observed, bits: int) -> ActivationGrid:
    """The range that leaves out (100 - PERCENTILE) % of the values at each end."""
    ordered = seen.sample.sort().values
    cut = round((1 - PERCENTILE / 100) * (len(ordered) - 1))
    return ActivationGrid.spanning(float(ordered[cut]), float(ordered[-1 - cut]), bits)


def _mse(seen: Observed, bits: int) -> ActivationGrid:
    """The range with the least squared error on the sample, its ends drawn in by turns."""
    sample = seen.sample

    def loss(low: float, high: float) -> float:
        return float(ActivationGrid.spanning(low, high, bits)(sample).sub_(sample).square_().mean())

    low, high = min(seen.low, 0.0), max(seen.high, 0.0)
    for _ in range(2 if low < 0 < high else 1):
        high = _shrink(high, partial(loss, low))
        low = _shrink(low, partial(loss, high=high))
    return ActivationGrid.spanning(low, high, bits)


COARSE: list[float] = [0.9**step for step in range(40)]
FINE: list[float] = [0.9 ** (step / 8) for step in range(-7, 8)]


def _shrink(end: float, loss: Callable[[float], float]) -> float:
    """The part of an end of the range with the least loss, searched coarsely, then finely.

    The larger of equals.
    """
    if end == 0:
        return end
    best = min(COARSE, key=lambda part: loss(end * part))
    return end * min((min(1.0, best * step) for step in FINE), key=lambda part: loss(end * part))


RANGES: dict[str, Callable[[Observed, int], ActivationGrid]] = {
    "minmax": _minmax,
    "percentile": _percentile,
    "mse": _mse,
}
