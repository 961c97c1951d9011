"""Learned activation steps: the scale of every activation quantizer, moved so that each block returns what it did in float.

Source: LSQ (arXiv 1902.08153) as BRECQ uses it. The logarithm of a scale is learned, so that one rate fits all layers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from emqlang.quant.networks.layers import Layer
from emqlang.quant.networks.tracing import Forward, tensors
from emqlang.quant.ptq.capture import Given, capture_inputs, capture_outputs, guard
from emqlang.quant.ptq.grids import ActivationGrid
from emqlang.quant.ptq.sites import Site, attach
from emqlang.quant.ptq.units import Unit

RATE = 4e-4
POWER = 2.4  # of the output error that is minimised


class LearnedStep(nn.Module):
    """An activation quantizer with a scale that can be learned; rounding passes gradients straight through."""

    def __init__(self, grid: ActivationGrid) -> None:
        super().__init__()
        self.start = grid
        self.growth = nn.Parameter(torch.zeros(()))

    def forward(self, tensor: Tensor) -> Tensor:
        scale = self.start.scale * self.growth.exp()
        steps = tensor / scale
        rounded = steps + (steps.round() - steps).detach()
        low = -self.start.zero_point
        return rounded.clamp(low, low + 2**self.start.bits - 1) * scale

    def grid(self) -> ActivationGrid:
        return replace(self.start, scale=float(self.start.scale * self.growth.detach().exp()))


def learn_steps(
    original: nn.Module,
    quantized: nn.Module,
    layers: Sequence[Layer],
    units: Sequence[Unit],
    sites: Sequence[Site],
    grids: Mapping[str, ActivationGrid],
    batches: Sequence[Any],
    forward: Forward,
    iterations: int,
    seed: int,
) -> dict[str, ActivationGrid]:
    """The grids with learned scales. `quantized` has quantized weights and no activation quantizers; it is left so."""
    learned = dict(grids)
    for position, unit in enumerate(units):
        inside = [_within(site, unit) for site in sites if site.name in unit.layers]
        if not inside:
            continue
        steps = {site.name: LearnedStep(grids[site.name]) for site in inside}
        part = quantized.get_submodule(unit.name)
        given = capture_inputs(
            original, original.get_submodule(unit.name), unit.calls, batches, forward
        )
        targets = capture_outputs(
            original, original.get_submodule(unit.name), unit.calls, batches, forward
        )
        detach = attach(quantized, layers, inside, steps)
        generator = torch.Generator().manual_seed(seed * 100_003 + position)
        try:
            _descend(list(steps.values()), part, given, targets, iterations, generator)
        finally:
            detach()
        learned |= {name: step.grid() for name, step in steps.items()}
    return learned


def _within(site: Site, unit: Unit) -> Site:
    """The site with the layers of one unit alone."""
    return replace(site, layers=tuple(layer for layer in site.layers if layer in unit.layers))


def _descend(
    steps: Sequence[LearnedStep],
    part: nn.Module,
    given: Sequence[Given],
    targets: Sequence[Tensor],
    iterations: int,
    generator: torch.Generator,
) -> None:
    """Adam with a cosine from RATE to 0 on the p-norm of the output error, one batch at a time in random order."""
    optimizer = torch.optim.Adam([step.growth for step in steps], lr=RATE)
    fresh = guard(part, given[0])
    order: list[int] = []
    for step in range(iterations):
        optimizer.param_groups[0]["lr"] = RATE * (1 + math.cos(math.pi * step / iterations)) / 2
        order = order or torch.randperm(len(targets), generator=generator).tolist()
        i = order.pop()
        args, kwargs = fresh(given[i])
        loss = (tensors(part(*args, **kwargs))[0] - targets[i]).abs().pow(POWER).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
