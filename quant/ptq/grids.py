"""Quantizers: from floating point to integers on a grid, and back.

A weight has one grid for each output channel, an activation one for the tensor. Both always contain
0 exactly, and round half to even. A grid's values are (code - zero_point) * scale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product

import torch
from torch import Tensor

from emqlang.grammar.diagnostics import error, nearest
from emqlang.quant.determinism import one_thread

PERCENTILE = 99.99  # of a channel's weights on either side of 0 that the range keeps
COARSE = tuple(0.75**step for step in range(8))  # parts of an end of the range, 1 to 0.13
FINE = tuple(0.75 ** (step / 4) for step in range(-3, 4))
CHUNK = 1 << 18  # weights searched at once
TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True, eq=False)
class Grid:
    """One asymmetric grid for each output channel.

    scale       float32 (C,), positive
    zero_point  int32 (C,), from 0 to levels - 1
    lowest      the smallest code in use: 1 for a symmetric grid of 2^bits - 1 levels
    """

    bits: int
    scale: Tensor
    zero_point: Tensor
    lowest: int = 0

    @property
    def levels(self) -> int:
        """2^bits: codes lie below it."""
        return 1 << self.bits

    @property
    def dtype(self) -> torch.dtype:
        """Of codes: uint8, or int32 for more than 8 bits."""
        return torch.uint8 if self.bits <= 8 else torch.int32

    def codes(self, rows: Tensor) -> Tensor:
        """The nearest codes of weights (C, fan_in)."""
        steps = rows.float().div(self.scale[:, None]).round_().add_(self.zero_point[:, None])
        return steps.clamp_(self.lowest, self.levels - 1).to(self.dtype)

    def values(self, codes: Tensor) -> Tensor:
        """The float32 weights that codes (C, fan_in) stand for."""
        return codes.float().sub_(self.zero_point[:, None]).mul_(self.scale[:, None])


@dataclass(frozen=True)
class ActivationGrid:
    """One asymmetric grid for a whole tensor; called, it gives the nearest values on the grid."""

    bits: int
    scale: float
    zero_point: int

    @classmethod
    def spanning(cls, low: float, high: float, bits: int) -> ActivationGrid:
        """The grid over a range, widened to contain 0; any grid will do for a tensor of zeros."""
        low, high, steps = min(low, 0.0), max(high, 0.0), (1 << bits) - 1
        scale = float(torch.tensor(high / steps - low / steps, dtype=torch.float32)) or 1.0
        return cls(bits, scale, min(max(round(-low / scale), 0), steps))

    def __call__(self, tensor: Tensor) -> Tensor:
        low, high = -self.zero_point, (1 << self.bits) - 1 - self.zero_point
        return tensor.div(self.scale).round_().clamp_(low, high).mul_(self.scale)


@dataclass(frozen=True)
class WeightQuantizer:
    """How a weight's grids are found.

    method      'mse': both ends of a channel's range are drawn in to where its squared error is
                least; 'minmax': the range is kept; 'percentile': PERCENTILE % of it is kept
    symmetric   the zero point is the middle: 2^bits - 1 levels, or all 2^bits with `full_range`
    Raises E403 for an unknown method and, from `fit`, for a symmetric grid of 1 bit, which has no
    positive level.
    """

    method: str = "mse"
    symmetric: bool = False
    full_range: bool = False

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            help = (*nearest(self.method, METHODS), f"one of {', '.join(METHODS)}")
            raise error("E403", f"there is no quantizer method '{self.method}'", *help)

    def fit(self, rows: Tensor, bits: int) -> Grid:
        """The grids of one weight (C, fan_in). A channel of equal weights is exact."""
        if self.symmetric and bits == 1:
            message = "a symmetric grid of 1 bit has no level above 0"
            raise error("E403", message, "leave symmetric out, or take 2 bits")
        with one_thread():
            parts = [self._fit(part, bits) for part in _chunks(rows.detach().float())]
        scale, zero_point = (torch.cat(column) for column in zip(*parts, strict=True))
        return Grid(bits, scale, zero_point.int(), self._lowest)

    @property
    def _lowest(self) -> int:
        return int(self.symmetric and not self.full_range)

    def _fit(self, rows: Tensor, bits: int) -> tuple[Tensor, Tensor]:
        """Scale and zero point of a few channels, both float32."""
        low, high = rows.amin(1), rows.amax(1)
        constant = low == high
        spanning = partial(self._spanning, bits=bits)
        scale, zero_point = METHODS[self.method](rows, spanning, bits, self._lowest)
        exact = torch.where(low == 0, 1.0, low.abs())
        below = torch.full_like(low, 1 << bits - 1) if self.symmetric else (low < 0).float()
        return torch.where(constant, exact, scale), torch.where(constant, below, zero_point)

    def _spanning(self, low: Tensor, high: Tensor, bits: int) -> tuple[Tensor, Tensor]:
        """Scale and zero point for ranges low <= 0 <= high."""
        steps = (1 << bits) - 1 - self._lowest
        if self.symmetric:
            scale = (torch.maximum(-low, high) * (2 / steps)).clamp_(min=TINY)
            return scale, torch.full_like(scale, 1 << bits - 1)
        scale = (high / steps - low / steps).clamp_(min=TINY)
        return scale, (-low / scale).round_().clamp_(0, steps)


Spanning = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Method = Callable[[Tensor, Spanning, int, int], tuple[Tensor, Tensor]]


def _ends(rows: Tensor) -> tuple[Tensor, Tensor]:
    return rows.amin(1).clamp_(max=0), rows.amax(1).clamp_(min=0)


def _minmax(rows: Tensor, spanning: Spanning, bits: int, lowest: int) -> tuple[Tensor, Tensor]:
    return spanning(*_ends(rows))


def _percentile(rows: Tensor, spanning: Spanning, bits: int, lowest: int) -> tuple[Tensor, Tensor]:
    cut = 1 - PERCENTILE / 100
    low, high = torch.quantile(rows, torch.tensor([cut, 1 - cut], device=rows.device), dim=1)
    return spanning(low.clamp_(max=0), high.clamp_(min=0))


def _mse(rows: Tensor, spanning: Spanning, bits: int, lowest: int) -> tuple[Tensor, Tensor]:
    """Both ends over all pairs of COARSE parts, then around the best; of equals, the widest."""
    low, high = _ends(rows)
    best = _Best(low)
    buffers = torch.empty_like(rows), torch.empty_like(rows)
    for parts in (COARSE, FINE):
        start_low, start_high = best.low, best.high
        for a, b in product(parts, parts):
            part_low, part_high = (start_low * a).clamp_(max=1), (start_high * b).clamp_(max=1)
            scale, zero_point = spanning(low * part_low, high * part_high)
            loss = _loss(rows, scale, lowest - zero_point, (1 << bits) - 1 - zero_point, buffers)
            best.offer(loss, part_low, part_high)
    return spanning(low * best.low, high * best.high)


METHODS: Mapping[str, Method] = {"minmax": _minmax, "percentile": _percentile, "mse": _mse}


class _Best:
    """For each channel, the parts of both ends with the least loss so far."""

    def __init__(self, like: Tensor) -> None:
        self.loss = torch.full_like(like, torch.inf)
        self.low, self.high = torch.ones_like(like), torch.ones_like(like)

    def offer(self, loss: Tensor, low: Tensor, high: Tensor) -> None:
        better = loss < self.loss
        self.loss = torch.where(better, loss, self.loss)
        self.low = torch.where(better, low, self.low)
        self.high = torch.where(better, high, self.high)


def _loss(
    rows: Tensor, scale: Tensor, lowest: Tensor, highest: Tensor, buffers: tuple[Tensor, Tensor]
) -> Tensor:
    """The Euclidean norm of each channel's error on a grid."""
    steps, rounded = buffers
    torch.div(rows, scale[:, None], out=steps)
    torch.round(steps, out=rounded)
    rounded.clamp_(lowest[:, None], highest[:, None]).sub_(steps)
    norm: Tensor = torch.linalg.vector_norm(rounded, dim=1)
    return norm.mul_(scale)


def _chunks(rows: Tensor) -> Iterator[Tensor]:
    return iter(torch.split(rows, max(1, CHUNK // max(1, rows.shape[1]))))
