"""Reductions on a GPU: the tile programs' code over whole flat buffers, with segmented reductions.

The number of launches does not depend on the number of layers. Arithmetic is float64 throughout: a
GPU does not report the overflow and underflow that would tell float32's limits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, pairwise
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emqlang.compiler.axes import Axes
from emqlang.compiler.lower import Fold, Step, TileProgram, Value, lower
from emqlang.compiler.statistics import Statistics
from emqlang.grammar.expr import Expr
from emqlang.grammar.inputs import INPUTS, Axis, Kind
from emqlang.grammar.ops import OPS, Class

Array = NDArray[Any]
_PIECE: Final = 4096  # values; a layer is reduced in pieces first: a segment is a block of threads


class GpuEngine:
    """Reduces statistics on any torch device."""

    name = "gpu"

    def __init__(self, statistics: Statistics, axes: Axes) -> None:
        self.statistics, self.axes = statistics, axes

    def reduce(
        self, values: Sequence[Value], scalar: Callable[[Value], Array]
    ) -> dict[Value, Array]:
        """Each reduction's value in every layer. `scalar` gives the layer values they read."""
        kinds: dict[Kind, list[Value]] = {}
        for value in values:
            kinds.setdefault(value.node.args[0].kind, []).append(value)
        reduced: dict[Value, Array] = {}
        for kind, group in kinds.items():
            program = lower(group, self.axes)
            layout = _Layout(
                self.statistics.offsets[kind], torch.device(str(self.statistics.device))
            )
            results = self._execute(program, layout, scalar)
            reduced |= zip(program.reductions, results.cpu().numpy(), strict=True)
        return reduced

    def _execute(
        self, program: TileProgram, layout: _Layout, scalar: Callable[[Value], Array]
    ) -> Tensor:
        """(reductions, layers)."""
        slots: list[Any] = [self._input(value) for value in program.inputs]
        slots += [
            layout.spread(torch.as_tensor(np.array(scalar(value)), device=layout.device))
            for value in program.scalars
        ]
        slots += [None] * program.registers
        results: list[Tensor] = []
        for step in program.code:
            operands = [slots[i] for i in step.operands]
            if isinstance(step, Step):
                slots[step.target] = kernel(step.node)(*operands)
            else:
                results.append(FOLDS[step.fold](layout, *operands))
        return torch.stack(results)

    def _input(self, value: Value) -> Tensor:
        name = str(value.node.value)
        tensor = torch.as_tensor(self.statistics.array(name))
        return (tensor if INPUTS[name].axis is Axis.NONE else tensor[value.row]).double()


class _Layout:
    """Where the layers lie in a flat buffer, and their pieces."""

    def __init__(self, offsets: Sequence[int], device: torch.device) -> None:
        pieces = [range(start, stop, _PIECE) for start, stop in pairwise(offsets)]
        cuts = [*chain.from_iterable(pieces), offsets[-1]]
        self.device = device
        self.size = offsets[-1]
        self.starts = torch.tensor(offsets[:-1], device=device)
        self.lengths = torch.tensor(offsets, device=device).diff()
        self.cuts = torch.tensor(cuts, device=device)
        self.layers = torch.tensor([0, *map(len, pieces)], device=device).cumsum(0)

    def spread(self, values: Tensor) -> Tensor:
        """(layers) to (values)."""
        return torch.repeat_interleave(values, self.lengths, output_size=self.size)

    def reduce(self, how: str, x: Tensor) -> Tensor:
        """(values) to (layers), in two steps."""
        pieces = torch.segment_reduce(x, how, offsets=self.cuts, unsafe=True)
        return torch.segment_reduce(pieces, how, offsets=self.layers, unsafe=True)

    def mean(self, x: Tensor) -> Tensor:
        """About each layer's first value, so that the mean of equal values is exact."""
        first = x[self.starts]
        return first + self.reduce("sum", x - self.spread(first)) / self.lengths

    def var(self, x: Tensor) -> Tensor:
        shifted = x - self.spread(self.mean(x))
        bias = self.reduce("sum", shifted) / self.lengths
        square = self.reduce("sum", shifted * shifted) / self.lengths
        return torch.clamp(square - bias * bias, min=0)


def _inv(x: Tensor) -> Tensor:
    return torch.where(x == 0, 0.0, 1 / x)


def _log(x: Tensor) -> Tensor:
    return torch.where(x <= 0, 0.0, torch.log(x))


def _power(exponent: float, x: Tensor) -> Tensor:
    return torch.pow(x if exponent == int(exponent) else torch.relu(x), exponent)


def kernel(node: Expr) -> Callable[..., Tensor]:
    """The torch kernel of an elementwise node; it allocates its result."""
    if node.op != "pow":
        return KERNELS[node.op]
    exponent = node.number
    return lambda x: _power(exponent, x)


KERNELS: Final[dict[str, Callable[..., Tensor]]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": lambda x, y: x * _inv(y),
    "pow": _power,
    "neg": torch.neg,
    "abs": torch.abs,
    "sign": lambda x: torch.where(torch.isnan(x), x, torch.sign(x)),
    "relu": torch.relu,
    "inv": _inv,
    "sqrt": lambda x: torch.sqrt(torch.relu(x)),
    "log": _log,
    "exp": torch.exp,
    "sigmoid": torch.sigmoid,
}
assert KERNELS.keys() == {op.name for op in OPS.values() if op.cls is Class.ELEMENTWISE}

FOLDS: Final[dict[Fold, Callable[..., Tensor]]] = {
    Fold.MEAN: _Layout.mean,
    Fold.VAR: _Layout.var,
    Fold.MIN: lambda layout, x: layout.reduce("min", x),
    Fold.MAX: lambda layout, x: layout.reduce("max", x),
    Fold.MEAN_OF_PRODUCT: lambda layout, x, y: layout.mean(x * y),
    Fold.MEAN_OF_LOG: lambda layout, x: layout.mean(_log(x)),
}
assert FOLDS.keys() == set(Fold)
