"""Where a tensor comes from: what is known of it in a traced forward, and what ops make of it.

A weight may be made in the forward: of several parameters, of rows of one that the input picks, of
one that the input scales, or of a product alone. Activations are made of the same things; they are
told apart by what they are used for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from emqlang.quant.networks.nested import tensors
from emqlang.quant.networks.products import ARITHMETIC, KERNEL, MOVES, WITH_KERNEL


@dataclass(slots=True, eq=False)
class TensorTrace:
    """What is known of one tensor.

    origins    the parameters whose values it holds, or is computed from alone; the network's input
               may have picked them, as of a table, or scaled them, as a kernel
    active     whether its values depend on the network's input, or come out of a product
    sources    of an active tensor: the parameters since the last product that had a part in it
    grid       the layer's weight whose values it has, but for a scale and an offset per channel
    kernel     whether it was given to a function as its weight
    positions  of every value, the row of a product that it is of; None where that is not known
    producer   the layer whose product it is, untouched since
    uses       how many ops read it, and the network's result
    """

    origins: frozenset[str] = frozenset()
    active: bool = False
    sources: frozenset[str] = frozenset()
    grid: str = ""
    kernel: bool = False
    positions: Tensor | None = None
    producer: str = ""
    uses: int = 0

    @property
    def pure(self) -> bool:
        """Whether it is made of parameters alone, whatever the input is."""
        return bool(self.origins) and not self.active


Operand = tuple[Tensor, TensorTrace]


def carries(tensor: Tensor) -> bool:
    """Whether it holds values that can be multiplied, not indices or masks."""
    return tensor.is_floating_point() or tensor.is_complex()


def union(names: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset[str]().union(*names)


def weights_of(packet: Any, operands: Sequence[Operand]) -> list[TensorTrace]:
    """The operands of a product that are its weights; none of a product of activations.

    They are what was given as the weight, else what is made of parameters alone, else what the
    input picked from them or scales, else a matrix whose values are all of one row of a product.
    """
    given = [
        trace
        for place, (_, trace) in enumerate(operands)
        if trace.kernel or (place == KERNEL and packet in WITH_KERNEL)
    ]
    if any(trace.origins or trace.sources for trace in given):
        return given
    traces = [trace for _, trace in operands]
    pure = [trace for trace in traces if trace.pure]
    picked = [trace for trace in traces if trace.origins]
    return pure or picked or [trace for leaf, trace in operands if _is_one_row(leaf, trace)]


def derived(packet: Any, operands: Sequence[Operand]) -> TensorTrace:
    """The trace of what an op that is no product makes of its operands.

    Integers count where there is nothing else: a weight may be stored in them.
    What is made with an activation is one. But a parameter with axes of its own, along which the
    activation does not vary, is scaled by it and stays a weight.
    """
    floats = [(leaf, trace) for leaf, trace in operands if carries(leaf)] or operands
    made = [(leaf, trace) for leaf, trace in floats if trace.origins]
    mixed = [leaf for leaf, trace in floats if trace.active and not trace.origins]
    scaled = packet in ARITHMETIC and any(
        all(_spans(weight, values) for values in mixed) for weight, _ in made
    )
    active = any(trace.active for _, trace in operands)
    return TensorTrace(
        origins=union(trace.origins for _, trace in made) if scaled or not mixed else frozenset(),
        active=active,
        sources=union(t.origins | t.sources for _, t in floats) if active else frozenset(),
        grid="" if mixed else _grid(floats),
        kernel=len(floats) == 1 and floats[0][1].kernel,
    )


def moved(
    packet: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    operands: Sequence[Operand],
    results: Sequence[Tensor],
) -> list[Tensor | None]:
    """The positions of what an op that is no product puts out.

    What it does not move stays where it is.
    """
    known = [(leaf, trace.positions) for leaf, trace in operands if trace.positions is not None]
    if known and packet in MOVES and known[0][0] is args[0]:
        return list(tensors(MOVES[packet](known[0][1], *args[1:], **kwargs)))
    return [
        next((positions for _, positions in known if positions.shape == leaf.shape), None)
        for leaf in results
    ]


def rows_of(result: Tensor, packet: Any, operands: Sequence[Operand]) -> Tensor | None:
    """The positions of the values of a product of two: those of all channels share one."""
    weights = weights_of(packet, operands)
    if len(weights) != 1 or not result.ndim:
        return None
    left = operands[0][1] is weights[0]
    axis = 1 if packet in WITH_KERNEL else max(0, result.ndim - 1 - left)
    shape = [1 if place == axis else size for place, size in enumerate(result.shape)]
    count = result.numel() // max(1, result.shape[axis])
    return torch.arange(count, dtype=torch.int32).view(shape).expand(result.shape)


def _is_one_row(matrix: Tensor, trace: TensorTrace) -> bool:
    """Whether a matrix, or every one of a batch of them, is one row of a product in other order."""
    rows = trace.positions
    if rows is None or rows.shape != matrix.shape or matrix.ndim < 2 or min(rows.shape[-2:]) < 2:
        return False
    return bool((rows == rows[..., :1, :1]).all())


def _spans(weight: Tensor, values: Tensor) -> bool:
    """Whether a weight has an axis along which the values that it meets do not vary."""
    own, others = _sizes(weight), _sizes(values)
    own, others = (1,) * (len(others) - len(own)) + own, (1,) * (len(own) - len(others)) + others
    return any(a > 1 and b == 1 for a, b in zip(own, others, strict=True))


def _sizes(tensor: Tensor) -> tuple[int, ...]:
    """Its shape, with 1 for an axis along which it was only expanded."""
    if tensor.layout != torch.strided:
        return tuple(tensor.shape)
    return tuple(n if step else 1 for n, step in zip(tensor.shape, tensor.stride(), strict=True))


def _grid(floats: Sequence[Operand]) -> str:
    """The weight whose grid arithmetic keeps: one meets a number per channel, or a mask."""
    grids = {trace.grid for _, trace in floats} - {""}
    if len(grids) != 1:
        return ""
    (weight, *_) = (leaf for leaf, trace in floats if trace.grid)
    others = (leaf for leaf, trace in floats if not trace.grid)
    return grids.pop() if all(_is_scale(other, weight) for other in others) else ""


def _is_scale(other: Tensor, weight: Tensor) -> bool:
    """Whether it has one number, or one per channel of the weight, or is a mask of ones."""
    sizes = [size for size in _sizes(other) if size > 1]
    if not sizes or (len(sizes) == 1 and sizes[0] < weight.numel()):
        return True
    return other.layout == torch.strided and bool(((other == 0) | (other == 1)).all())
