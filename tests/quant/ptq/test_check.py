"""The 8-bit check passes where 8 bits do no harm, and finds the layer where they do."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from emqlang.quant.data.datasets import Split, load_data
from emqlang.quant.networks.network import load, prepare
from emqlang.quant.ptq.check import check

SPLITS: tuple[tuple[int, Split], ...] = ((256, "calibration"), (1000, "test"))


def data(scale: float = 1.0, count: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(64, 3, 8, 8, generator=generator) * scale for _ in range(count)]


def body() -> nn.Sequential:
    torch.manual_seed(0)
    pooled = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), *pooled
    ).eval()


def test_a_healthy_network_passes() -> None:
    network = load("resnet18-fmnist")
    assert network.spec is not None
    shown, tested = (
        load_data("fashion-mnist", network.spec.images, 10, count=count, split=split)
        for count, split in SPLITS
    )
    found = check(network, shown, tested, images=256)
    assert (
        found is not None
        and found.passed
        and found.images == 1000
        and found.measure == "accuracy"
        and found.float_score > 0.9
        and not found.suspects
    )


class Spiky(nn.Module):
    """One channel is a thousand times the others, and what is decided on lies in the others."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first = nn.Conv2d(3, 16, 1)
        self.second = nn.Conv2d(16, 16, 1)
        self.head = nn.Linear(16, 8)
        with torch.no_grad():
            self.first.weight[5] *= 20_000
            self.second.weight[:, 5] = 0

    def forward(self, images: Tensor) -> Tensor:
        hidden: Tensor = self.head(self.second(self.first(images)).mean((2, 3)))
        return hidden


def test_an_outlier_channel_is_found() -> None:
    images = data()
    found = check(prepare(Spiky().eval(), images[0]), images, images, images=256)
    assert found is not None and found.passed is False and found.measure == "agreement with float"
    assert found.suspects[0].layer == "second" and "channel 5" in found.suspects[0].cause
    assert found.suspects[0].loss == max(suspect.loss for suspect in found.suspects) > 0.01


def test_images_that_are_not_normalised_are_found() -> None:
    scales = torch.tensor([1.0, 1.0, 30_000.0]).view(3, 1, 1)
    net = body()
    with torch.no_grad():
        net[0].weight[:, 2] = 0  # the large channel says nothing
    images = [batch * scales for batch in data()]
    found = check(prepare(net, images[0]), images, images, images=256)
    assert (
        found is not None
        and found.passed is False
        and found.suspects[0].layer == "0"
        and "normalised" in found.suspects[0].cause
    )


@pytest.mark.parametrize("count", [1, 2])
def test_small_networks_have_fewer_suspects(count: int) -> None:
    net = nn.Sequential(*(nn.Linear(4, 4) for _ in range(count)))
    with torch.no_grad():
        net[0].weight.zero_()
        net[0].bias.normal_(generator=torch.Generator().manual_seed(0))
    images = [torch.randn(32, 4, generator=torch.Generator().manual_seed(0))]
    found = check(prepare(net.eval(), images[0]), images, images, images=32)
    assert found is not None and len(found.suspects) <= count


class Amplified(nn.Module):
    """A convolution whose weights nearly agree, and a norm that magnifies their difference."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.conv, self.norm, self.head = (
            nn.Conv2d(3, 8, 1, bias=False),
            nn.BatchNorm2d(8),
            nn.Linear(8, 4),
        )
        with torch.no_grad():
            self.conv.weight.mul_(0.005).add_(10)
            self.norm.running_var.fill_(1e-5)

    def forward(self, images: Tensor) -> Tensor:
        kept = self.conv(images - images.mean(1, keepdim=True))
        logits: Tensor = self.head((self.norm(kept) + 0 * kept)[:, :, 0, 0])
        return logits


def test_an_unfolded_batch_norm_is_named_the_same_every_time() -> None:
    images = data()
    network = prepare(Amplified().eval(), images[0])
    steps: list[tuple[str, int, int]] = []
    found = check(network, images, images, images=128, progress=lambda *step: steps.append(step))
    assert found is not None and found.passed is False and found.suspects[0].layer == "conv"
    assert found.suspects[0].cause == "the batch norm 'norm' behind it is not folded"
    assert steps and all(what == "8-bit check" and done <= total for what, done, total in steps)
    assert check(network, images, images, images=128) == found


@pytest.mark.parametrize(
    ("close", "count", "passed"),
    [(0, 64, True), (1, 64, None), (3, 64, None), (16, 64, False), (2, 1000, True)],
)
def test_a_drop_that_the_images_cannot_tell_from_chance_is_no_failure(
    close: int, count: int, passed: bool | None
) -> None:
    """Images whose two scores nearly agree are lost at 8 bits: one code holds both."""
    net = nn.Sequential(nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(2))
    images = torch.tensor([[-1.0, 1.0]]).repeat(count, 1)
    images[:close] = torch.tensor([0.5, 0.5001])
    data = [(images, torch.ones(count, dtype=torch.long))]
    found = check(prepare(net.eval(), images), [images], data, images=count)
    assert found is not None and found.images == count and found.passed is passed
    assert found.float_score == 1 and found.score == 1 - close / count
    assert bool(found.suspects) == (passed is False)
    assert all(suspect.loss > 0 for suspect in found.suspects), "what costs nothing is not named"


def test_outputs_without_classes_pass_by_their_relative_error() -> None:
    images = [torch.randn(64, 16, generator=torch.Generator().manual_seed(0))]
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 1)).eval()
    found = check(prepare(net, images[0]), images, images, images=64)
    assert found is not None and found.passed and found.measure == "fidelity"
    assert 0.98 < found.score < found.float_score == 1
    with torch.no_grad():  # one channel is far larger, and its weight is none
        net[0].weight[0] *= 3000
        net[2].weight[:, 0] = 0
    found = check(prepare(net, images[0]), images, images, images=64)
    assert found is not None and found.passed is False and found.score < 0.9
    assert found.suspects[0].layer == "2" and "channel 0" in found.suspects[0].cause
