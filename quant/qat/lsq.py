"""Quantizers whose steps are learned: LSQ (Esser et al. 2020, arXiv 1902.08153).

With v = x / step and codes q = round(clamp(v, low, high)), a value is q * step. Its gradient passes
through the rounding: d/dx is 1 where low <= v <= high, and 0 beyond; d/dstep is q - v there, and
the end of the range beyond. The step's gradient is scaled by 1 / sqrt(n * Q): n values share the
step, and Q is the largest magnitude of a code, counted from the zero point.

Zero points stay: the grids are those that the network was quantized with, with other steps.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn

from emqlang.quant.ptq.grids import ActivationGrid, Grid

SMALLEST: Final = 0.01  # of the step as it began: a step stays positive
INSIDE: Final = 0.49  # steps from its code that a weight begins at the most
NARROW: Final = (torch.float16, torch.bfloat16)  # codes are computed in wider numbers


class LearnedWeight:
    """A layer's weight (C_out, fan_in) on a grid with one learned step for each channel.

    It begins as the float weight where that rounds to the code, and else as near to it as rounds to
    the code, if that is the next one, as learned rounding leaves it; or at the code's own value.
    """

    def __init__(self, rows: Tensor, codes: Tensor, grid: Grid) -> None:
        self.grid = grid
        zero = grid.zero_point.float()[:, None]
        self.low, self.high = grid.lowest - zero, grid.levels - 1 - zero
        self.latent = nn.Parameter(_begun(rows, codes, grid, self.low, self.high))
        self.step = nn.Parameter(grid.scale.clone())
        self.smallest = grid.scale * SMALLEST
        largest = torch.maximum(-self.low, self.high)
        self.factor = (rows.shape[1] * largest).rsqrt()

    def to(self, device: torch.device) -> LearnedWeight:
        for name in ("low", "high", "smallest", "factor"):
            setattr(self, name, getattr(self, name).to(device))
        self.latent.data, self.step.data = self.latent.to(device), self.step.to(device)
        return self

    def values(self) -> Tensor:
        """The quantized weight, float32 (C_out, fan_in)."""
        return fake_quantize(self.latent, self.step[:, None], self.low, self.high, self.factor)

    def quantized(self) -> tuple[Tensor, Grid]:
        """Its codes, uint8, and their grid, on the CPU."""
        step = self.step.detach().cpu()
        grid = Grid(self.grid.bits, step.clone(), self.grid.zero_point, self.grid.lowest)
        return grid.codes(self.latent.detach().cpu()), grid


class LearnedInput:
    """The quantizer of a tensor that layers read, with one learned step.

    rows  of the batch that is being read: n is how many values one row of it has
    """

    def __init__(self, grid: ActivationGrid) -> None:
        self.grid, self.rows = grid, 1
        self.low, self.high = -grid.zero_point, (1 << grid.bits) - 1 - grid.zero_point
        self.step = nn.Parameter(torch.tensor(grid.scale, dtype=torch.float32))
        self.smallest = torch.tensor(grid.scale * SMALLEST)

    def to(self, device: torch.device) -> LearnedInput:
        self.smallest, self.step.data = self.smallest.to(device), self.step.to(device)
        return self

    def __call__(self, tensor: Tensor) -> Tensor:
        shared = max(1, tensor.numel() // self.rows) * max(-self.low, self.high)
        wide = tensor.float() if tensor.dtype in NARROW else tensor
        return fake_quantize(wide, self.step, self.low, self.high, shared**-0.5).to(tensor.dtype)

    def quantized(self) -> ActivationGrid:
        return ActivationGrid(self.grid.bits, float(self.step.detach()), self.grid.zero_point)


def fake_quantize(x: Tensor, step: Tensor, low: Any, high: Any, factor: Any) -> Tensor:
    """Values of x on a grid, with the gradients of LSQ.

    step       of x's type and positive, one number or (C, 1)
    low, high  the ends of the codes, counted from the zero point: numbers, or tensors like the step
    factor     of the step's gradient: a number, or a tensor like the step
    """
    quantized: Tensor = _FakeQuantize.apply(x, step, low, high, factor)  # type: ignore[no-untyped-call]
    return quantized


class _FakeQuantize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, low: Any, high: Any, factor: Any) -> Tensor:
        steps = x / step
        clamped = steps.clamp(low, high)
        codes = clamped.round()
        if any(ctx.needs_input_grad):
            inside = steps == clamped
            ctx.save_for_backward(inside, torch.where(inside, codes - steps, codes))
            ctx.factor, ctx.shape = factor, step.shape
        return codes * step

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        inside, by_step = ctx.saved_tensors
        of_x = slope * inside if ctx.needs_input_grad[0] else None
        of_step = (slope * by_step).sum_to_size(ctx.shape) * ctx.factor
        return of_x, of_step, None, None, None


def _begun(rows: Tensor, codes: Tensor, grid: Grid, low: Tensor, high: Tensor) -> Tensor:
    """Weights (C_out, fan_in) that round to these codes."""
    steps = rows.float() / grid.scale[:, None]
    wanted = codes.float() - grid.zero_point[:, None]
    beyond = ((wanted == low) & (steps < low)) | ((wanted == high) & (steps > high))
    near = (steps - wanted).abs() <= 1.5
    within = steps.maximum(wanted - INSIDE).minimum(wanted + INSIDE)
    begun = torch.where(beyond, steps, torch.where(near, within, wanted))
    return torch.where(begun == steps, rows.float(), begun * grid.scale[:, None])
