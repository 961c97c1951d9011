"""How much each output of a unit matters to the network's own answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div

from emqlang.quant.networks.answers import class_axis, logits_of
from emqlang.quant.networks.batches import Forward, backward, pass_through
from emqlang.quant.networks.hooks import listening
from emqlang.quant.networks.nested import mapped, tensors
from emqlang.quant.ptq.units import Unit


def output_gradients(
    original: nn.Module, quantized: nn.Module, unit: Unit, batches: Sequence[Any], forward: Forward
) -> list[Tensor]:
    """Squared gradients of the KL divergence of quantized from float answers: BRECQ's diagonal.

    They are with respect to each of the unit's outputs, for all batches and calls in order, divided
    by their common mean.
    """
    part = quantized.get_submodule(unit.name)
    squares: list[Tensor] = []
    for batch in batches:
        seen: list[Tensor] = []

        def add_zeros(name: str, output: Any, seen: list[Tensor] = seen) -> Any:
            seen.append(torch.zeros_like(tensors(output)[0], requires_grad=True))
            return _plus(output, seen[-1])

        with torch.no_grad():
            logits = logits_of(pass_through(original, batch, forward))
            axis = -1 if (axis := class_axis(logits)) is None else axis
            wanted = logits.log_softmax(axis)
        with torch.enable_grad(), listening([(unit.name, part)], on_output=add_zeros):
            answer = logits_of(pass_through(quantized, batch, forward)).log_softmax(axis)
            loss = kl_div(answer, wanted, reduction="sum", log_target=True)
        with backward():
            slopes = torch.autograd.grad(loss, seen, materialize_grads=True)
        squares += [slope.square() for slope in slopes]
    mean = sum(float(square.mean()) for square in squares) / len(squares)
    return [square / mean if mean else torch.ones_like(square) for square in squares]


def _plus(output: Any, zeros: Tensor) -> Any:
    """A module's output with zeros added to its first tensor, whose gradient is then theirs."""
    first = tensors(output)[0]
    return mapped(lambda leaf: leaf + zeros if leaf is first else leaf, output)
