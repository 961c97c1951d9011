"""A small network with its images: what attacks use."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def network() -> nn.Module:
    torch.manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(1, 6, 3, stride=2), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3),
        nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip
    net.input_shape = (1, 12, 12)  # type: ignore[assignment]
    with torch.no_grad():  # untrained, it would say the same of every image
        last = net[-1]
        assert isinstance(last, nn.Linear)
        last.bias -= net(torch.randn(500, 1, 12, 12)).mean(0)
    return net


def batches(seed: int, count: int = 96) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 1, 12, 12, generator=generator)
    with torch.no_grad():
        labels = network()(images).argmax(1)
    flipped = torch.rand(count, generator=generator) < 0.2
    return [(images, torch.where(flipped, (labels + 1) % 10, labels))]


def calibration() -> list[tuple[Tensor, Tensor]]:
    return batches(0)


def test() -> list[tuple[Tensor, Tensor]]:
    return batches(2, 250)
