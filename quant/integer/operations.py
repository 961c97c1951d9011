"""The operations of an integer network: codes are int32, accumulators and products int64."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emqlang.quant.integer.dyadic import Dyadic

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d}  # by dimensions of space


class Rescale(nn.Module):
    """Accumulators to codes: `(x * m + c) >> s`, kept between `low` and `high`.

    channels  a Dyadic for each channel, or one for all
    space     dimensions behind the channels'
    """

    multiplier: Tensor
    constant: Tensor
    shift: Tensor

    def __init__(self, channels: Sequence[Dyadic], low: int, high: int, space: int = 0) -> None:
        super().__init__()
        self.low, self.high = low, high
        shape = (len(channels), *[1] * space) if len(channels) > 1 else ()
        columns = {
            "multiplier": [each.multipliers[0] for each in channels],
            "constant": [each.constant for each in channels],
            "shift": [each.shift for each in channels],
        }
        for name, column in columns.items():
            self.register_buffer(name, torch.tensor(column, dtype=torch.int64).reshape(shape))

    def forward(self, sums: Tensor) -> Tensor:
        codes = (sums.long() * self.multiplier + self.constant) >> self.shift
        return codes.clamp(self.low, self.high).int()


class Convolution(nn.Module):
    """Padded with the zero point's code, multiplied and added in int64, rescaled.

    weight   int32 (C_out, C_in / groups, ...), without its zero points
    zero     the code of 0 in the input
    padding  as F.pad takes it: the last dimension first, before and after
    """

    weight: Tensor

    def __init__(
        self,
        weight: Tensor,
        zero: int,
        padding: Sequence[int],
        rescale: Rescale,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.zero, self.padding, self.settings = zero, list(padding), settings
        self.rescale = rescale

    def forward(self, codes: Tensor) -> Tensor:
        if any(self.padding):
            # F.pad would be given the code as a floating-point number; around 0 it needs none
            codes = F.pad(codes - self.zero, self.padding) + self.zero
        codes, weight = codes.long(), self.weight.long()
        if self.settings["groups"] == 1:
            sums = _as_matrices(codes, weight, self.settings["stride"], self.settings["dilation"])
        else:
            sums = CONVOLUTIONS[weight.ndim - 2](codes, weight, **self.settings)
        result: Tensor = self.rescale(sums)
        return result


def _as_matrices(
    codes: Tensor, weight: Tensor, strides: Sequence[int], dilations: Sequence[int]
) -> Tensor:
    """A convolution as one matrix product: on a CPU up to six times as fast as torch's of int64.

    codes (N, C_in, ...) and weight (C_out, C_in, ...) to (N, C_out, ...).
    """
    kernel = weight.shape[2:]
    settings = list(zip(codes.shape[2:], kernel, strides, dilations, strict=True))
    sizes = [(size - d * (k - 1) - 1) // s + 1 for size, k, s, d in settings]
    turned = codes.transpose(0, 1)
    parts = list[Tensor]()
    for offsets in product(*map(range, kernel)):
        part = turned
        for axis, (offset, size) in enumerate(zip(offsets, sizes, strict=True)):
            start, step = offset * dilations[axis], strides[axis]
            part = part[(slice(None),) * (axis + 2) + (slice(start, start + step * size, step),)]
        parts.append(part)
    columns = torch.stack(parts, 1).flatten(0, 1).flatten(1)  # (C_in * kernel, N * space)
    sums = weight.flatten(1) @ columns
    return sums.reshape(len(weight), -1, *sizes).transpose(0, 1)


class Linear(nn.Module):
    """The last dimension times a matrix, int32 (C_out, C_in), added in int64, rescaled."""

    weight: Tensor

    def __init__(self, weight: Tensor, rescale: Rescale) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.rescale = rescale

    def forward(self, codes: Tensor) -> Tensor:
        result: Tensor = self.rescale(codes.long() @ self.weight.long().T)
        return result


class Add(nn.Module):
    """Two tensors of codes brought to one step: `(a * m1 + b * m2 + c) >> s`."""

    def __init__(self, dyadic: Dyadic, low: int, high: int) -> None:
        super().__init__()
        self.dyadic, self.low, self.high = dyadic, low, high

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        first, second = self.dyadic.multipliers
        sums = left.long() * first + right.long() * second + self.dyadic.constant
        return (sums >> self.dyadic.shift).clamp(self.low, self.high).int()


class GlobalAverage(nn.Module):
    """The sum over space; the mean's division is in the rescaling's multiplier."""

    def __init__(self, space: Sequence[int], keep: bool, rescale: Rescale) -> None:
        super().__init__()
        self.space, self.keep, self.rescale = list(space), keep, rescale

    def forward(self, codes: Tensor) -> Tensor:
        result: Tensor = self.rescale(codes.long().sum(self.space, keepdim=self.keep))
        return result


class MaxPool(nn.Module):
    """The largest code of each window; outside of the image there is nothing."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.settings = settings

    def forward(self, codes: Tensor) -> Tensor:
        largest: Tensor = F.max_pool2d(codes, **self.settings)
        return largest


class Clamp(nn.Module):
    """ReLU and ReLU6: what is below `low` or above `high` is cut off."""

    def __init__(self, low: int, high: int) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, codes: Tensor) -> Tensor:
        return codes.clamp(self.low, self.high)


class Flatten(nn.Module):
    """Every row to one dimension."""

    def forward(self, codes: Tensor) -> Tensor:
        return codes.flatten(1)


class Graph(nn.Module):
    """Operations in their order: codes of the input, int32, to codes of the output, int32.

    sources  for each operation, what it reads: 0 is the input, k + 1 what operation k returns
    result   which of these is the output
    """

    def __init__(
        self, operations: Sequence[nn.Module], sources: Sequence[tuple[int, ...]], result: int
    ) -> None:
        super().__init__()
        self.operations, self.sources, self.result = nn.ModuleList(operations), sources, result
        self.last = {place: index for index, places in enumerate(sources) for place in places}

    def forward(self, codes: Tensor) -> Tensor:
        values = {0: codes}
        for index, (operation, places) in enumerate(
            zip(self.operations, self.sources, strict=True)
        ):
            values[index + 1] = operation(*[values[place] for place in places])
            for place in set(places):
                if self.last[place] == index and place != self.result:
                    del values[place]  # nothing reads it again
        return values[self.result]
