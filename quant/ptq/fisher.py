"""How much each output of a unit matters to the network's own answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div

from emqlang.grammar.diagnostics import error
from emqlang.quant.networks.answers import Answer, answer
from emqlang.quant.networks.batches import backward, pass_through, rows
from emqlang.quant.networks.hooks import listening
from emqlang.quant.networks.nested import mapped, tensors
from emqlang.quant.networks.signature import Forward
from emqlang.quant.ptq.units import Unit


def output_gradients(
    original: nn.Module, quantized: nn.Module, unit: Unit, batches: Sequence[Any], forward: Forward
) -> list[Tensor]:
    """Squared gradients of the distance of quantized from float answers: BRECQ's diagonal.

    The distance is the KL divergence; without classes, half the squared error. The gradients are
    with respect to each of the unit's outputs, for all batches and calls in order, divided by their
    common mean; those of a unit on which the answer does not depend are 1. Raises E308 where the
    network's answer has no gradient at all.
    """
    part = quantized.get_submodule(unit.name)
    squares: list[Tensor] = []
    for batch in batches:
        seen: list[Tensor] = []

        def add_zeros(name: str, output: Any, seen: list[Tensor] = seen) -> Any:
            seen.append(torch.zeros_like(tensors(output)[0], requires_grad=True))
            return _plus(output, seen[-1])

        with torch.no_grad():
            wanted = answer(pass_through(original, batch, forward), rows(batch))
        with torch.enable_grad(), listening([(unit.name, part)], on_output=add_zeros):
            loss = _distance(answer(pass_through(quantized, batch, forward), rows(batch)), wanted)
        if not loss.requires_grad:  # as of a router, whose output only chooses
            _check_gradient(quantized, batch, forward)
            squares += [torch.zeros_like(zeros) for zeros in seen]
            continue
        with backward():
            slopes = torch.autograd.grad(loss, seen, materialize_grads=True)
        squares += [slope.float().square() for slope in slopes]
    mean = sum(float(square.mean()) for square in squares) / len(squares)
    return [square / mean if mean else torch.ones_like(square) for square in squares]


def _check_gradient(module: nn.Module, batch: Any, forward: Forward) -> None:
    """Raises E308 where the network's answer has no gradient in any of its parameters."""
    parameters = [each for each in module.parameters() if each.is_floating_point()]
    for parameter in parameters:
        parameter.requires_grad_(True)
    try:
        with torch.enable_grad():
            said = answer(pass_through(module, batch, forward), rows(batch))
    finally:
        for parameter in parameters:
            parameter.requires_grad_(False)
    if not said.scores.requires_grad:
        message = "the network's output has no gradient"
        raise error("E308", message, "leave out no_grad and detach, or --fisher")


def _distance(found: Answer, wanted: Answer) -> Tensor:
    """Of the scores; of the other outputs for a unit that the scores do not depend on."""
    if found.scores.shape != wanted.scores.shape:
        message = "the quantized network's outputs have other shapes than the float network's"
        raise error("E308", message, "leave --fisher out")
    if not wanted.has_classes:
        scores = (found.scores - wanted.scores).square().sum() / 2
    else:
        ours, theirs = (said.scores.log_softmax(-1) for said in (found, wanted))
        scores = kl_div(ours, theirs, reduction="sum", log_target=True)
    pairs = zip(found.others, wanted.others, strict=False)
    others = [(own - exact).float().square() for own, exact in pairs if own.shape == exact.shape]
    if scores.requires_grad or not others:
        return scores
    return torch.stack([squares.sum() for squares in others]).sum() / 2


def _plus(output: Any, zeros: Tensor) -> Any:
    """A module's output with zeros added to its first tensor, whose gradient is then theirs."""
    first = tensors(output)[0]
    return mapped(lambda leaf: leaf + zeros if leaf is first else leaf, output)
