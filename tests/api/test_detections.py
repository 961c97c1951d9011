"""A detector as torchvision's are fed: lists of images of any size, and of their targets."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import emqlang as emq

Batch = tuple[list[Tensor], list[dict[str, Tensor]]]


class Detector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.boxes = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 4)

    def forward(self, images: list[Tensor], targets: Any = None) -> list[dict[str, Tensor]]:
        features = [self.body(image[None]).relu().mean((2, 3)) for image in images]
        return [{"boxes": self.boxes(each)} for each in features]


def batches() -> list[Batch]:
    generator = torch.Generator().manual_seed(1)

    def one() -> Batch:
        images = [torch.rand(3, 6 + size, 9, generator=generator) for size in range(4)]
        return images, [{"boxes": torch.rand(1, 4, generator=generator)} for _ in images]

    return [one() for _ in range(3)]


def loss(outputs: Any, batch: Batch) -> Tensor:
    pairs = zip(outputs, batch[1], strict=True)
    errors = [(found["boxes"] - target["boxes"]).square().sum() for found, target in pairs]
    return torch.stack(errors).mean()


def test_statistics_quantization_and_metric_are_of_each_image() -> None:
    net, data = Detector(), batches()
    statistics = emq.collect(net, data, loss=loss, images=10)
    copy = deepcopy(net).double()
    squares = torch.zeros_like(copy.body.weight)
    rows = [
        (image.double(), target)
        for images, targets in data
        for image, target in zip(images, targets, strict=True)
    ]
    for image, target in rows[:10]:
        copy.zero_grad()
        loss(copy([image]), ([image], [target])).backward()
        assert copy.body.weight.grad is not None
        squares += copy.body.weight.grad.square()
    assert emq.score("mean(fisher)", statistics).q[0] == pytest.approx(
        float(squares.mean() / 10), rel=1e-4
    )

    recipe = emq.assign("fisher_error", statistics, avg_bits=3)
    quantized = emq.quantize(net, recipe, data, images=10)
    found = emq.evaluate(quantized, data, lambda o, b: float(loss(o, b)), reference=net)
    assert found.images == 12 and found.agreement is None
    assert found.relative_error is not None and 0 < found.relative_error < 1
    by_hand = [float(loss(quantized.module(images), (images, targets))) for images, targets in data]
    assert found.metric == pytest.approx(sum(by_hand) / 3, rel=1e-5)
