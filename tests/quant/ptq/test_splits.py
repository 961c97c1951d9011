"""Halves of test images: what bits are chosen by is never what is reported on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from emqlang.quant.data.datasets import Dataset
from emqlang.quant.ptq.splits import Splits


def streamed(sizes: list[int]) -> Dataset:
    def stream() -> Iterator[Any]:
        start = 0
        for size in sizes:
            images = torch.arange(start, start + size).float()[:, None]
            yield images, torch.arange(start, start + size)
            start += size

    return Dataset("own", "all images of own", None, False, stream)


@pytest.mark.parametrize("sizes", [[10], [7, 5, 3], [1, 1, 1, 1], [64, 1]])
def test_halves_of_ones_own_images_are_streamed_and_disjoint(sizes: list[int]) -> None:
    data = streamed(sizes)
    first, second = Splits(data, data).halves(0)
    parts = [[int(x) for _, labels in half.test for x in labels] for half in (first, second)]
    assert sorted(parts[0] + parts[1]) == list(range(sum(sizes)))
    assert abs(len(parts[0]) - len(parts[1])) <= 1
    again = [int(x) for _, labels in first.test for x in labels]
    assert again == parts[0], "every pass gives the same half"
    for images, labels in first.test:
        assert torch.equal(images[:, 0].long(), labels)
    assert first.test.source == "first half, drawn from all images of own"
    assert second.test.source == "second half, drawn from all images of own"


def test_another_seed_draws_other_halves() -> None:
    data = streamed([40])
    one, two = (Splits(data, data).halves(seed)[0].test for seed in (0, 1))
    assert not torch.equal(one.tensors()[0], two.tensors()[0])
