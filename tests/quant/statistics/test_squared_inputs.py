"""`x2`, the mean squared input of each weight: by unfolding, and as a squared contribution."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from measured import collect, labelled, layer_values, small
from networks import SHAPES, Chain, PreActivation, Sequence1d, Shared, ViT, seeded
from torch import Tensor, nn

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.networks.layers import Layer
from emqlang.quant.networks.network import Network


def test_by_unfolding() -> None:
    network, values, labels = labelled(small(), (2, 5, 5))
    first, second, head = layer_values(collect(network, ["x2"], values, labels), "x2")
    meets = F.unfold(values.square(), 2).mean((0, 2))  # (fan_in,)
    torch.testing.assert_close(first.view(3, 8), meets.expand(3, 8), rtol=1e-5, atol=1e-8)
    module = network.module
    hidden = torch.tanh(module.first(values))
    torch.testing.assert_close(
        second.view(4, 12)[0], F.unfold(hidden.square(), 2).mean((0, 2)), rtol=1e-5, atol=1e-8
    )
    pooled = torch.tanh(module.second(hidden)).mean((2, 3))
    torch.testing.assert_close(head.view(3, 4)[2], pooled.square().mean(0), rtol=1e-5, atol=1e-8)


class Padded(nn.Module):
    """Strides, dilation, both kinds of padding, unequal kernels, in all dimensions. (N, 4, 9, 9)"""

    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Conv2d(4, 4, (3, 2), padding="same", dilation=(2, 1))
        self.reflected = nn.Conv2d(4, 6, 3, stride=2, padding=1, padding_mode="reflect", groups=2)
        self.up = nn.ConvTranspose2d(
            6, 4, 3, stride=2, padding=1, output_padding=1, groups=2, dilation=2
        )
        self.deep = nn.Conv3d(2, 3, 2, padding=1)
        self.up1d = nn.ConvTranspose1d(3, 4, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.up(torch.tanh(self.reflected(torch.tanh(self.same(x))))))
        x = torch.tanh(self.deep(x.unflatten(1, (2, 2)))).flatten(2)[..., :7]
        logits: Tensor = self.up1d(x).mean(2)
        return logits


def inputs_of(network: Network, layer: Layer, values: Tensor) -> list[Tensor]:
    """What every call of a layer, by whichever of its modules, was given."""
    seen: list[Tensor] = []
    owners = [
        module
        for module in network.module.modules()
        if getattr(module, "weight", None) is layer.weight
    ]
    handles = [
        module.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))
        for module in owners
    ]
    network.module(values)
    for handle in handles:
        handle.remove()
    return seen


def contributions(layer: Layer, given: Tensor) -> tuple[Tensor, int]:
    """Sums over the outputs of each weight's squared derivative, and the positions of a channel."""

    def output(weight: Tensor) -> Tensor:
        found = torch.func.functional_call(layer.module, {"weight": weight}, (given,))
        assert isinstance(found, Tensor)
        return found

    jacobian = torch.autograd.functional.jacobian(output, layer.weight.detach())
    assert isinstance(jacobian, Tensor)
    outputs = jacobian.numel() // layer.numel
    positions = (
        given.numel() // layer.channels_in if layer.transposed else outputs // layer.channels_out
    )
    return jacobian.double().square().reshape(outputs, layer.numel).sum(0).view(
        layer.shape
    ), positions


@pytest.mark.parametrize("kind", [Chain, Sequence1d, PreActivation, Shared, ViT, Padded])
def test_by_what_each_weight_contributes(kind: type[nn.Module]) -> None:
    """Outputs are sums of weights times inputs: the derivative by a weight is its input."""
    network, values, _ = labelled(seeded(kind), SHAPES.get(kind, (4, 9, 9)), count=2)
    found = layer_values(collect(network, ["x2"], values, None), "x2")
    for layer in network.collection.layers:
        calls = [contributions(layer, given) for given in inputs_of(network, layer, values)]
        expected = torch.stack([total for total, _ in calls]).sum(0) / sum(
            count for _, count in calls
        )
        torch.testing.assert_close(
            found[layer.index], layer.rows(expected).flatten().float(), rtol=1e-4, atol=1e-6
        )


def test_weights_that_the_forward_makes_of_the_parameters() -> None:
    class Halved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(3, 2))

        def forward(self, x: Tensor) -> Tensor:
            halves = {name: value / 2 for name, value in self.net.named_parameters()}
            return torch.func.functional_call(self.net, halves, (x,))

    network, values, _ = labelled(Halved(), (3,))
    found = layer_values(collect(network, ["x2"], values, None), "x2")[0].view(2, 3)
    torch.testing.assert_close(found, values.square().mean(0).expand(2, 3))


def test_a_product_of_its_own_making_is_refused() -> None:
    class Product(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return x @ self.weight.T

    network, values, _ = labelled(nn.Sequential(Product(3, 2)), (3,))
    with pytest.raises(EmqError, match="does not multiply its weight by way of") as refused:
        collect(network, ["x2"], values, None)
    assert refused.value.diagnostics[0].code == "E308"
