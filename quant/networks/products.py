"""The ops that multiply, look up or only move values, as a trace meets them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from emqlang.quant.networks.nested import tensors

# A rule: an op's arguments and result to its multiplied operands and the multiply-accumulates.
Rule = Callable[[Sequence[Any], Any], tuple[Sequence[Tensor], int]]


def _matrix(left: int, right: int) -> Rule:
    def rule(args: Sequence[Any], out: Tensor) -> tuple[Sequence[Tensor], int]:
        a, b = args[left], args[right]
        return (a, b), a.numel() * (b.shape[-1] if b.ndim > 1 else 1)

    return rule


def _convolution(args: Sequence[Any], out: Tensor) -> tuple[Sequence[Tensor], int]:
    inputs, weight, transposed = args[0], args[1], args[6]
    return (inputs, weight), (inputs if transposed else out).numel() * weight[0].numel()


def _distances(args: Sequence[Any], out: Tensor) -> tuple[Sequence[Tensor], int]:
    return args[:2], out.numel() * args[0].shape[-1]


def _bilinear(args: Sequence[Any], out: Tensor) -> tuple[Sequence[Tensor], int]:
    left, weight, right = args[:3]
    return (left, weight, right), left.numel() // left.shape[-1] * weight.numel()


def _recurrent(args: Sequence[Any], out: Any) -> tuple[Sequence[Tensor], int]:
    inputs, weights = args[0], [tensor for tensor in tensors(args[1:5]) if tensor.ndim == 2]
    steps = inputs.numel() // inputs.shape[-1]
    return (inputs, *weights), steps * sum(weight.numel() for weight in weights)


aten = torch.ops.aten
PRODUCTS: Final[Mapping[Any, Rule]] = {
    aten.convolution: _convolution,
    **dict.fromkeys((aten.mm, aten._int_mm, aten.bmm, aten.mv, aten.dot, aten.vdot), _matrix(0, 1)),
    **dict.fromkeys((aten.addmm, aten.baddbmm, aten.addbmm, aten.addmv), _matrix(1, 2)),
    aten._trilinear: _bilinear,
    **dict.fromkeys((aten._cdist_forward, aten._euclidean_dist), _distances),
    **dict.fromkeys((aten.mkldnn_rnn_layer, aten._cudnn_rnn), _recurrent),
}
KERNEL: Final = 1  # the operand that is the weight
WITH_KERNEL: Final = (aten.convolution, aten._trilinear)  # products of which it is known
# Of ops in any other namespace nothing is known but that they may multiply.
PLAIN_NAMESPACES: Final = ("aten", "prim", "prims")

TABLES: Final = (aten.embedding, aten._embedding_bag, aten._embedding_bag_forward_only)
PICKS: Final = (aten.index, aten.index_select, aten.gather, aten.take)  # the same by plain indexing
ARITHMETIC: Final = frozenset(
    getattr(aten, name + place) for name in ("add", "sub", "mul", "div") for place in ("", "_")
)


def _reshaped(tensor: Tensor, shape: Sequence[int] | torch.dtype) -> Tensor | None:
    """None of a view as another type, whose values are others."""
    return None if isinstance(shape, torch.dtype) else tensor.reshape(tuple(shape))


# Ops that move values and leave them as they are, with the same for a tensor in any memory format.
MOVES: Final[Mapping[Any, Any]] = {
    **dict.fromkeys((aten.view, aten._unsafe_view), _reshaped),
    **{
        op: op
        for op in (
            aten.permute, aten.transpose, aten.t, aten.unsqueeze, aten.squeeze, aten.expand,
            aten.select, aten.slice, aten.split, aten.split_with_sizes, aten.unbind,
        )
    },
}  # fmt: skip
