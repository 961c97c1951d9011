"""Bias correction: the mean of every output channel becomes what it was in float.

Source: arXiv 1906.04721, section 4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from emqlang.quant.networks.batches import pass_through
from emqlang.quant.networks.hooks import listening
from emqlang.quant.networks.layers import QUANTIZABLE, Layer
from emqlang.quant.networks.signature import Forward


def correct_biases(
    original: nn.Module, quantized: nn.Module, layers: Sequence[Layer], batch: Any, forward: Forward
) -> None:
    """Moves the biases of the quantized network in place, in one forward.

    Each layer sees the earlier ones corrected. A layer that is called more than once keeps its
    bias, and so does one without a bias whose forward is not torch's.
    """
    by_name = {layer.name: layer for layer in layers}
    wanted: dict[str, list[Tensor]] = {name: [] for name in by_name}

    def note(name: str, output: Tensor) -> None:
        wanted[name].append(_channel_means(by_name[name], output))

    modules = [(name, original.get_submodule(name)) for name in by_name]
    with torch.no_grad(), listening(modules, on_output=note):
        pass_through(original, batch, forward)

    def correct(name: str, output: Tensor) -> Tensor:
        layer, module = by_name[name], quantized.get_submodule(name)
        shift = wanted[name][0] - _channel_means(layer, output)
        bias: Any = module.bias
        module.bias = nn.Parameter(shift if bias is None else bias + shift, requires_grad=False)
        return output + _spread(layer, shift, output)

    once = [layer.name for layer in layers if len(wanted[layer.name]) == 1 and _takes_bias(layer)]
    modules = [(name, quantized.get_submodule(name)) for name in once]
    with torch.no_grad(), listening(modules, on_output=correct):
        pass_through(quantized, batch, forward)


def _takes_bias(layer: Layer) -> bool:
    """Whether a bias given to the layer will be added to its output."""
    forward = type(layer.module).forward
    return layer.bias is not None or any(forward is kind.forward for kind in QUANTIZABLE)


def _axis(layer: Layer, output: Tensor) -> int:
    return output.ndim - 1 if layer.type == "Linear" else output.ndim - 1 - len(layer.shape[2:])


def _channel_means(layer: Layer, output: Tensor) -> Tensor:
    others = [i for i in range(output.ndim) if i != _axis(layer, output)]
    return output.mean(others) if others else output.clone()


def _spread(layer: Layer, values: Tensor, output: Tensor) -> Tensor:
    """One value per channel, shaped to be added to the output."""
    return values.view([-1 if i == _axis(layer, output) else 1 for i in range(output.ndim)])
