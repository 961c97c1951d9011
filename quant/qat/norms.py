"""Batch norms that were folded, put back to be trained, and folded again.

One that is put back takes the mean and variance of what its layer puts out for its own, and scales
and shifts by them, so that nothing changes yet. Folding it multiplies each channel's step, and a
step may be multiplied by any positive number: codes stay what they are, but for a channel whose
scale turned negative, whose codes are mirrored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm

from emqlang.quant.networks.hooks import listening
from emqlang.quant.ptq.grids import TINY, Grid
from emqlang.quant.ptq.quantized import QuantizedWeight

EPS: Final = 1e-5
MOMENTUM: Final = 0.1  # of running means and variances


class LearnedNorm:
    """A batch norm on the output of one layer: its channels lie on axis 1.

    mean, variance   running ones (C,)
    training         whether it takes those of the batch, and updates the running ones
    """

    def __init__(self, mean: Tensor, variance: Tensor) -> None:
        self.mean, self.variance, self.training = mean, variance, False
        self.scale = nn.Parameter((variance + EPS).sqrt())
        self.shift = nn.Parameter(mean.clone())

    def __call__(self, output: Tensor) -> Tensor:
        several = output.numel() > output.shape[1]  # one value has no variance
        training = self.training and several
        return batch_norm(
            output, self.mean, self.variance, self.scale, self.shift, training, MOMENTUM, EPS
        )

    def fold(self, weight: QuantizedWeight, bias: Tensor) -> tuple[QuantizedWeight, Tensor]:
        """The layer's weight and bias that do the same alone, on the CPU."""
        parts = (self.scale, self.shift, self.mean, self.variance)
        scale, shift, mean, variance = (part.detach().cpu().double() for part in parts)
        factor = scale * torch.rsqrt(variance + EPS)
        grid, mirrored = weight.grid, factor < 0
        step = (grid.scale.double() * factor.abs()).float().clamp_(min=TINY)
        ends = grid.lowest + grid.levels - 1
        zero = torch.where(mirrored, ends - grid.zero_point, grid.zero_point).int()
        codes = torch.where(mirrored[:, None], ends - weight.codes.int(), weight.codes.int())
        folded = Grid(grid.bits, step, zero, grid.lowest)
        return QuantizedWeight(codes.to(grid.dtype), folded), (bias - mean) * factor + shift


@torch.no_grad()
def put_back(modules: Mapping[str, nn.Module], answers: Iterable[Any]) -> dict[str, LearnedNorm]:
    """A norm on each of these layers, by the layer's name.

    answers  runs the network on some batches, one after the other
    """
    sums: dict[str, list[Any]] = {name: [0, 0.0, 0.0] for name in modules}

    def count(name: str, output: Tensor) -> None:
        values = output.detach().double().movedim(1, 0).flatten(1)
        seen = sums[name]
        seen[0] += values.shape[1]
        seen[1] += values.sum(1)
        seen[2] += values.square().sum(1)

    with listening(modules.items(), on_output=count):
        for _ in answers:
            pass
    learned = {}
    for name, (number, total, squares) in sums.items():
        if number > 1:
            mean = total / number
            variance = (squares / number - mean.square()).clamp_(min=0)
            kind = modules[name].weight.dtype
            norm = learned[name] = LearnedNorm(mean.to(kind), variance.to(kind))
            modules[name].register_forward_hook(lambda _, args, output, norm=norm: norm(output))
    return learned
