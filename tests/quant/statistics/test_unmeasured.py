"""What could not be measured is not 0: it is refused, or the layers are named."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import emqlang as emq

Between = Callable[[nn.Module, Tensor], Tensor]
GRADIENTS = "mean(grad) + mean(fisher) + fisher_qerr + mean(hess) + hess_trace + hess_eig"


class Two(nn.Module):
    """Two layers; how the second is reached is the test's. (N, 6)"""

    def __init__(self, between: Between) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last, self.between = nn.Linear(6, 5), nn.Linear(5, 3), between

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(torch.tanh(self.between(self.first, x)))
        return logits


class Frozen(Two):
    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


class Inference(Two):
    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


def data() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(8, 6, generator=generator), torch.randint(3, (8,), generator=generator))]


def statistics(net: nn.Module, **options: Any) -> emq.Workbench:
    return emq.collect(net, data(), images=8, hessian_samples=2, **options)


@pytest.mark.parametrize("kind", [Frozen, Inference])
@pytest.mark.parametrize("proxy", ["-fisher_qerr", "mean(grad_act)", "hess_trace", "hess_eig"])
def test_a_network_without_a_gradient_is_refused(kind: type[Two], proxy: str) -> None:
    net = kind(lambda layer, x: layer(x))
    with pytest.raises(emq.EmqError, match=r"E308.*what the network returns has no gradient"):
        emq.score(proxy, statistics(net))


@pytest.mark.parametrize("loss", [lambda o, b: o.detach().sum(), lambda o, b: torch.ones(())])
def test_a_loss_without_a_gradient_is_refused(loss: Callable[[Any, Any], Tensor]) -> None:
    net = Two(lambda layer, x: layer(x))
    with pytest.raises(emq.EmqError, match=r"E304.*the loss has no gradient"):
        emq.score("-fisher_qerr", statistics(net, loss=loss))


def test_a_loss_may_be_constant_for_some_images() -> None:
    net = Two(lambda layer, x: layer(x))

    def loss(outputs: Tensor, batch: Any) -> Tensor:
        return torch.zeros(()) if batch[1].item() == 0 else outputs.square().mean()

    assert emq.score("-fisher_qerr", statistics(net, loss=loss)).scores.all()


@pytest.mark.parametrize(
    "between",
    [
        lambda layer, x: layer(x).detach(),
        lambda layer, x: checkpoint(layer, x, use_reentrant=True),
        lambda layer, x: layer(x).round(),
    ],
    ids=["detached", "checkpoint", "rounded"],
)
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_a_layer_without_a_gradient_is_named(
    between: Between,
) -> None:
    with pytest.warns(emq.EmqWarning, match="W613.*fisher.*'first': no gradient of the loss"):
        table = emq.score("-fisher_qerr", statistics(Two(between)))
    assert list(table.unmeasured) == ["first"]
    assert "on any of 8 images" in table.unmeasured["first"]


def test_what_is_measured_is_not_named() -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="W613")
        table = emq.score(GRADIENTS, statistics(Two(lambda layer, x: layer(x))))
    assert not table.unmeasured


def test_tied_layers_are_known_by_those_that_are_scored() -> None:
    net = Two(lambda layer, x: layer(x).detach())
    net.tied_layers = [["last", "first"]]  # type: ignore[assignment]
    collected = statistics(net)
    with pytest.warns(emq.EmqWarning):
        assert not emq.score("-fisher_qerr", collected, tied="main").unmeasured
    assert list(emq.score("-fisher_qerr", collected, tied="sum").unmeasured) == ["last"]


def test_bits_are_refused_to_layers_without_a_gradient() -> None:
    collected = statistics(Two(lambda layer, x: layer(x).detach()))
    with (
        pytest.warns(emq.EmqWarning, match="W613"),
        pytest.raises(emq.EmqError, match=r"E409.*first \(no gradient of the loss reaches it"),
    ):
        emq.assign("-fisher_qerr", collected, avg_bits=3)
