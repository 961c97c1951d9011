"""`grad_synflow`: conserved along a chain, alive in every layer of the large networks, and free of data."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from networks import seeded
from torch import Tensor, nn

from emqlang.quant.menu import parse_bits
from emqlang.quant.network import load, prepare
from emqlang.quant.statistics import collect_statistics


def collected(network: object, *names: str) -> list[list[Tensor]]:
    found = collect_statistics(network, names, parse_bits("2"))  # type: ignore[arg-type]
    offsets = found.offsets["weight"]
    return [[found.array(name)[a:b] for name in names] for a, b in pairwise(offsets)]


class Plain(nn.Module):
    """A chain without biases, with batch norms, several activations, dropout and a grouped convolution. (N, 2, 8, 8)"""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(2, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU6(),
            nn.Conv2d(6, 6, 3, groups=3, bias=False), nn.BatchNorm2d(6), nn.GELU(), nn.Dropout(0.5),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5, bias=False), nn.Tanh(), nn.Linear(5, 3, bias=False),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.body(x)
        return logits


def test_every_layer_of_a_chain_carries_the_same_sum() -> None:
    """Synaptic conservation (arXiv 2006.05467, Theorem 1): sum of weight times gradient is R in each layer."""
    net = seeded(Plain)
    sums = [float((w.double().abs() * g).sum()) for w, g in collected(prepare(net, torch.randn(1, 2, 8, 8)), "w", "grad_synflow")]
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
    for (slopes,) in collected(load(name, "random"), "grad_synflow"):
        assert slopes.dtype == torch.float64 and slopes.isfinite().all() and (slopes > 0).any()
