"""`grad_synflow`: conserved along a chain, alive in every layer of large networks, without data."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from networks import seeded
from subjects import KINDS, ready
from torch import Tensor, nn

from emqlang.quant.bits.menu import parse_bits
from emqlang.quant.models import MODELS
from emqlang.quant.networks.network import prepare
from emqlang.quant.statistics.collect import collect_statistics


def collected(network: object, *names: str) -> list[list[Tensor]]:
    found = collect_statistics(network, names, parse_bits("2"))  # type: ignore[arg-type]
    offsets = found.offsets["weight"]
    return [[found.array(name)[a:b] for name in names] for a, b in pairwise(offsets)]


class Plain(nn.Module):
    """Batch norms, activations, dropout and a grouped convolution, no biases. (N, 2, 8, 8)"""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(2, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU6(),
            nn.Conv2d(6, 6, 3, groups=3, bias=False), nn.BatchNorm2d(6), nn.GELU(), nn.Dropout(0.5),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(6, 5, bias=False), nn.Tanh(), nn.Linear(5, 3, bias=False),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.body(x)
        return logits


def test_every_layer_of_a_chain_carries_the_same_sum() -> None:
    """Synaptic conservation (arXiv 2006.05467, Theorem 1): one sum of weight times gradient."""
    net = seeded(Plain)
    sums = [
        float((w.double().abs() * g).sum())
        for w, g in collected(prepare(net, torch.randn(1, 2, 8, 8)), "w", "grad_synflow")
    ]
    assert len(sums) == 4 and sums == pytest.approx([sums[0]] * 4, rel=1e-6)


def test_it_is_the_gradient_of_the_linear_network_by_hand() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    (w1, g1), (w2, g2) = collected(prepare(net.eval(), torch.randn(1, 3)), "w", "grad_synflow")
    first, second = w1.double().abs().view(4, 3), w2.double().abs().view(2, 4)
    torch.testing.assert_close(g1.view(4, 3), second.sum(0)[:, None].expand(4, 3))
    torch.testing.assert_close(g2.view(2, 4), first.sum(1).expand(2, 4))


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet50"])
def test_no_layer_of_a_large_network_is_dead(name: str) -> None:
    network = prepare(MODELS[name].build(), torch.ones(1, 3, 64, 64))
    for (grads,) in collected(network, "grad_synflow"):
        assert grads.dtype == torch.float64 and grads.isfinite().all() and (grads > 0).any()


MODULES = (
    "ReLU ReLU6 Hardswish SiLU GELU PReLU ELU SELU Mish LeakyReLU Softplus Softsign Tanh "
    "LogSigmoid Dropout CELU"
)
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    **{name: getattr(nn, name)() for name in MODULES.split()},
    "in place": nn.Sequential(
        nn.ReLU(inplace=True), nn.Hardtanh(inplace=True), nn.SiLU(inplace=True)
    ),
    "functions": lambda x: torch.tanh(F.relu6(F.leaky_relu(x, negative_slope=0.2))),
    "methods": lambda x: x.relu().tanh().clamp(min=0, max=6).clip(0, 6),
    "in-place methods": lambda x: x.clone().relu_().clamp_(0, 1),
    "log softmax": lambda x: torch.special.log_softmax(F.log_softmax(x, dim=1), 1),
    "norms": lambda x: F.local_response_norm(F.normalize(x), 2),
    "thresholds": nn.Sequential(
        nn.Threshold(0.5, 0.0), nn.Hardshrink(), nn.Softshrink(), nn.Tanhshrink()
    ),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_functions_are_the_identity_in_whatever_form(name: str) -> None:
    def chain(activation: nn.Module) -> list[list[Tensor]]:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(2, 3, 3), activation, nn.Flatten(), nn.Linear(48, 4))
        return collected(prepare(net.eval(), torch.randn(1, 2, 6, 6)), "grad_synflow")

    class Activation(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return ACTIVATIONS[name](x)

    for (with_it,), (without,) in zip(chain(Activation()), chain(nn.Identity()), strict=True):
        assert torch.equal(with_it, without)


def test_gates_multiply_by_at_most_one() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 8), nn.GLU(), nn.Linear(4, 2)).eval()
    (w1, _), (_, g2) = collected(prepare(net, torch.randn(1, 3)), "w", "grad_synflow")
    values, gate = w1.double().abs().view(8, 3).sum(1).chunk(2)
    torch.testing.assert_close(g2.view(2, 4)[0], values * gate / gate.max())


@pytest.mark.parametrize("kind", KINDS)
def test_weights_and_their_gradients_have_the_shape_of_the_layers(kind: type[nn.Module]) -> None:
    network = ready(kind)
    grads = [part for (part,) in collected(network, "grad_synflow")]
    assert [len(part) for part in grads] == [layer.numel for layer in network.collection.layers]
    assert all(part.isfinite().all() and (part >= 0).all() and part.any() for part in grads)


def test_it_does_not_depend_on_seed_images_or_biases() -> None:
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4)).eval()
    first = collected(prepare(net, torch.randn(1, 2, 6, 6)), "grad_synflow")
    with torch.no_grad():
        net[0].bias += 1.0  # type: ignore[operator]
        net[3].weight *= -1.0  # type: ignore[operator]
    again = collected(prepare(net, torch.randn(1, 2, 6, 6)), "grad_synflow")
    assert all(torch.equal(one, other) for (one,), (other,) in zip(first, again, strict=True))
