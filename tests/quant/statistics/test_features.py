"""`orm`, the sum of linear CKA with the other layers, by the formula of its paper."""

from __future__ import annotations

import pytest
import torch
from measured import COUNT, collect, labelled, outputs_of, small
from networks import SHAPES, Shared, Tiny, seeded
from torch import Tensor, nn

from emqlang.quant.networks.network import Network


def cka(x: Tensor, y: Tensor) -> float:
    """|Y^T X|^2 / (|X^T X| |Y^T Y|) of centred features (N, F)."""
    return float((y.T @ x).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm()))


def expected(features: list[Tensor]) -> list[float]:
    centred = [x.double() - x.double().mean(0) for x in features]
    return [sum(cka(x, y) for j, y in enumerate(centred) if j != i) for i, x in enumerate(centred)]


def orm(network: Network, values: Tensor) -> list[float]:
    found: list[float] = collect(network, ["orm"], values, None).array("orm").tolist()
    return found


@pytest.mark.parametrize("kind", [None, Shared])
def test_the_sum_of_linear_cka(kind: type[nn.Module] | None) -> None:
    network, values, _ = (
        labelled(seeded(kind), SHAPES[kind]) if kind else labelled(small(), (2, 5, 5))
    )
    calls = [calls for calls in outputs_of(network, values)[:-1] if isinstance(calls, list)]
    features = [torch.cat([call.detach().flatten(1) for call in layer], 1) for layer in calls]
    assert orm(network, values) == pytest.approx(expected(features), rel=1e-4)


class SequenceFirst(nn.Module):
    """Layers that see (L, N, C), as nn.Transformer's do by default. (N, 7, 4)"""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer, self.head = nn.Linear(4, 5), nn.Linear(5, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.outer(torch.tanh(self.inner(x.transpose(0, 1)))).mean(0))
        return logits


def test_the_images_need_not_be_the_first_axis() -> None:
    network, values, _ = labelled(seeded(SequenceFirst), (7, 4))
    calls = [calls for calls in outputs_of(network, values)[:-1] if isinstance(calls, list)]
    features = [
        call.detach().transpose(0, call.ndim - 2).flatten(1) for layer in calls for call in layer
    ]
    assert features[0].shape == (COUNT, 35) and orm(network, values) == pytest.approx(
        expected(features), rel=1e-4
    )


def test_features_that_do_not_vary_have_nothing_in_common() -> None:
    net = seeded(Tiny)
    assert isinstance(net.one, nn.Linear)
    nn.init.zeros_(net.one.weight)
    network, values, _ = labelled(net, (1,))
    assert orm(network, values) == [0.0, 0.0] == orm(network, values[:1])
