"""Activation quantizers: one per tensor that layers read, run once a forward; 8 bits for images."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from networks import Shared, ViT, collection_of
from subjects import batches, inputs, quantized, ready
from torch import Tensor, nn

from emqlang.quant.networks.batches import feed
from emqlang.quant.networks.network import prepare
from emqlang.quant.ptq.grids import ActivationGrid
from emqlang.quant.ptq.sites import attach, find_sites


class Branches(nn.Module):
    """Branches that read one tensor: one may be skipped, one follows an in-place change. (N, 4)"""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.left, self.right, self.late = (nn.Linear(4, 4) for _ in range(4))
        self.both = True

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y: Tensor = self.left(x)
        if self.both:
            y = y + self.right(input=x)
        z: Tensor = self.late(x.mul_(2))
        return y + z


class Counting:
    """A quantizer that counts how often it runs."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, tensor: Tensor) -> Tensor:
        self.calls += 1
        return tensor.round()


def branches() -> tuple[Branches, Any, Tensor]:
    torch.manual_seed(0)
    net, x = Branches().eval(), torch.randn(3, 4)
    return net, collection_of(net, x).layers, x


def placed(
    net: nn.Module, layers: Any, x: Tensor, **bits: int | None
) -> list[tuple[tuple[str, ...], int]]:
    widths = {layer.name: bits.get(layer.name, 4) for layer in layers}
    return [(site.layers, site.bits) for site in find_sites(net, layers, x, feed, widths)]


def test_layers_that_read_one_tensor_share_a_quantizer() -> None:
    net, layers, x = branches()
    assert placed(net, layers, x) == [(("stem",), 8), (("left", "right"), 4), (("late",), 4)]


def test_other_bits_are_another_quantizer_and_none_is_none() -> None:
    net, layers, x = branches()
    assert placed(net, layers, x, right=6) == [
        (("stem",), 8),
        (("left",), 4),
        (("right",), 6),
        (("late",), 4),
    ]
    assert placed(net, layers, x, right=None, stem=None) == [(("left",), 4), (("late",), 4)]


def test_attention_reads_one_tensor_three_times() -> None:
    layers = [site.layers for site, _ in quantized(ready(ViT), batches(ViT)).inputs]
    names = [f"encoder.layers.0.self_attn.{part}_proj" for part in "qkv"]
    assert tuple(names) in layers


@pytest.mark.parametrize("reshape", ["flatten", "permute"])
def test_views_of_the_networks_input_have_eight_bits(reshape: str) -> None:
    class Views(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(12, 2)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.fc(
                x.flatten(1) if reshape == "flatten" else x.permute(0, 2, 1).reshape(len(x), -1)
            )
            return y

    x = torch.randn(2, 3, 4)
    net = Views()
    assert placed(net, collection_of(net, x).layers, x) == [(("fc",), 8)]


def test_shared_inputs_are_quantized_once_a_forward() -> None:
    net, layers, x = branches()
    sites = find_sites(net, layers, x, feed, {layer.name: 8 for layer in layers})
    counters = {site.name: Counting() for site in sites}
    detach = attach(net, layers, sites, counters)
    for _ in range(3):
        net(x)
    assert {name: counter.calls for name, counter in counters.items()} == {
        "stem": 3,
        "left": 3,
        "late": 3,
    }
    detach()
    assert not any(module._forward_pre_hooks for module in net.modules())


def test_a_forward_that_is_cut_short_leaves_nothing_behind() -> None:
    """A reader is skipped, and its input changes in place: no quantized copy is reused."""

    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(4, 4), nn.Linear(4, 4)
            self.both = True

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.left(x)
            return y + self.right(x) if self.both else y

    net, x = Pair(), torch.randn(3, 4)
    layers = collection_of(net, x).layers
    sites = find_sites(net, layers, x, feed, {"left": 8, "right": 8})
    plain = deepcopy(net)
    attach(net, layers, sites, {"left": Counting()})
    net.both = False
    net(x)
    net.both = True
    torch.testing.assert_close(net(x.mul_(3)), plain(x.round()))


def test_the_quantized_forward_is_the_one_that_is_written() -> None:
    """Against float64 in numpy: W4 per output channel, A8 and A5 per tensor."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    data = [torch.randn(32, 6)]
    found = quantized(prepare(module.eval(), data[0]), data, bits=4, act_bits=5)

    def grid(values: np.ndarray, at: ActivationGrid) -> np.ndarray:
        codes = np.clip(np.round(values / at.scale) + at.zero_point, 0, 2**at.bits - 1)
        return (codes - at.zero_point) * at.scale

    values = data[0].numpy().astype(np.float64)
    (_, first), (_, second) = found.inputs
    assert (first.bits, second.bits) == (8, 5)
    for name, at, layer in (("0", first, module[0]), ("2", second, module[2])):
        weight = found.weights[name]
        scale, zero = (
            part.numpy().astype(np.float64)[:, None]
            for part in (weight.grid.scale, weight.grid.zero_point)
        )
        rows = (weight.codes.numpy().astype(np.float64) - zero) * scale
        assert np.abs(rows - layer.weight.detach().numpy()).max() <= scale.max() / 2 + 0.05
        values = grid(values, at) @ rows.T + layer.bias.detach().numpy()
        values = np.maximum(values, 0) if name == "0" else values
    np.testing.assert_allclose(found.module(data[0]).detach().numpy(), values, rtol=1e-4, atol=1e-5)


def test_copies_of_the_quantized_network_stand_alone() -> None:
    network = ready(Shared)
    found = quantized(network, batches(Shared))
    x = inputs(Shared, 4)
    with torch.no_grad():
        assert torch.equal(deepcopy(found.module)(x), found.module(x))


def test_activations_may_stay_in_float() -> None:
    network = ready(Shared)
    found = quantized(network, batches(Shared), bits=8, act_bits=None)
    assert not found.inputs and all(row.input_bits is None for row in found.report)
