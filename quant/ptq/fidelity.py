"""How close a quantized network is to the float one, layer by layer, and that it has its bits."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from emqlang.quant.networks.batches import pass_through
from emqlang.quant.networks.hooks import listening
from emqlang.quant.networks.layers import Layer
from emqlang.quant.networks.nested import tensors
from emqlang.quant.networks.signature import Forward
from emqlang.quant.ptq.recipe import Recipe


@dataclass(frozen=True)
class LayerReport:
    """One layer of a quantized network; bits are None where it stays in floating point.

    weight_sqnr  signal to quantization noise of the weight, in dB; infinite where it is exact
    output_sqnr  of the layer's output in the quantized network, against the float one; None where
                 the two give it other rows, or none
    distinct     most different values of the weight in one output channel: at most 2 ** weight_bits
    """

    name: str
    weight_bits: int | None
    input_bits: int | None
    weight_sqnr: float
    output_sqnr: float | None
    distinct: int


def compare_layers(
    original: nn.Module,
    quantized: nn.Module,
    layers: Sequence[Layer],
    recipe: Recipe,
    batch: Any,
    forward: Forward,
    routed: Container[str] = (),
) -> tuple[LayerReport, ...]:
    """One row for every layer, from one batch through both networks.

    routed  layers whose rows may be others in the two
    """
    exact, rounded = (outputs(side, layers, batch, forward) for side in (original, quantized))
    reports = []
    for layer in layers:
        name, entry = layer.name, recipe.layers[layer.name]
        weight = quantized.get_submodule(name).weight
        assert isinstance(weight, Tensor)
        report = LayerReport(
            name,
            weight_bits=None if entry.weight is None else entry.weight.num_bits,
            input_bits=None if entry.input is None else entry.input.num_bits,
            weight_sqnr=sqnr(layer.weight.detach(), weight),
            output_sqnr=None if name in routed else _sqnr(exact[name], rounded[name]),
            distinct=distinct_values(layer.rows(weight)),
        )
        reports.append(report)
    return tuple(reports)


def _sqnr(exact: Sequence[Tensor], rounded: Sequence[Tensor]) -> float | None:
    """Of the last call's output; None where calls or rows differ."""
    shapes, others = ([tensor.shape for tensor in calls] for calls in (exact, rounded))
    if shapes != others or not exact or not exact[-1].numel():
        return None
    return sqnr(exact[-1], rounded[-1])


def outputs(
    module: nn.Module, layers: Sequence[Layer], batch: Any, forward: Forward
) -> dict[str, list[Tensor]]:
    """What every layer returns for a batch, call by call; of the shapes alone but the last."""
    seen: dict[str, list[Tensor]] = {layer.name: [] for layer in layers}

    def keep(name: str, output: Any) -> None:
        calls = seen[name]
        calls[-1:] = [torch.empty(call.shape, device="meta") for call in calls[-1:]]
        calls.append(tensors(output)[0].clone())  # what follows may work in place

    modules = [(layer.name, module.get_submodule(layer.name)) for layer in layers]
    with torch.no_grad(), listening(modules, on_output=keep):
        pass_through(module, batch, forward)
    return seen


def sqnr(signal: Tensor, quantized: Tensor) -> float:
    """10 log10 of the signal's energy over the error's; infinite where there is no error."""
    noise = float((signal.double() - quantized.double()).square().sum())
    energy = float(signal.double().square().sum())
    return math.inf if noise == 0 else -math.inf if energy == 0 else 10 * math.log10(energy / noise)


def distinct_values(rows: Tensor) -> int:
    """The most different values in one row of (C_out, fan_in)."""
    ordered = rows.detach().sort(dim=1).values
    return int((ordered.diff(dim=1) != 0).sum(dim=1).max()) + 1
