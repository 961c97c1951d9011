"""How much more may be lost on other images: the interval holds as often as it says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from emqlang.quant.ptq import margin
from emqlang.quant.ptq.evaluate import FIDELITY, Evaluation, Quality, evaluate
from emqlang.quant.ptq.margin import CONFIDENCE


def most(drop: float, drops: Tensor | None, others: int) -> float:
    images = 1 if drops is None else len(drops)
    found = Evaluation(images, images, drops=drops)
    return margin.most(found, Quality("accuracy", 1 - drop, drop, 0.0), others)


def test_the_interval_by_hand() -> None:
    """Of 98 images 4 are lost and 1 is won, and half an image each is added; 200 others."""
    drops = torch.tensor([1.0] * 4 + [-1.0] + [0.0] * 93)
    variance = 6 / 100 - (3 / 100) ** 2
    expected = 3 / 98 + 1.6448536 * (variance * (1 / 100 + 1 / 200)) ** 0.5
    assert most(3 / 98, drops, 200) == pytest.approx(expected, rel=1e-6)


def test_few_images_on_which_nothing_is_lost_are_not_certain() -> None:
    for count, bound in ((10, 0.1), (100, 0.01), (5_000, 0.0001)):
        assert most(0.0, torch.zeros(count), count) > bound


def test_more_images_narrow_it() -> None:
    drops = torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0])
    bounds = [most(0.2, drops.repeat(times), 5 * times) for times in (1, 10, 100)]
    assert bounds == sorted(bounds, reverse=True) and bounds[-1] > 0.2


def test_a_drop_that_is_no_mean_over_images_is_taken_as_it_is() -> None:
    assert most(0.03, None, 100) == 0.03


@pytest.mark.parametrize(("lost", "won"), [(0.01, 0.0), (0.05, 0.03), (0.3, 0.1)])
def test_other_images_lose_more_as_rarely_as_it_says(lost: float, won: float) -> None:
    generator, inside = torch.Generator().manual_seed(0), 0
    shares = torch.tensor([lost, won, 1 - lost - won])
    for _ in range(1_000):
        drawn = torch.multinomial(shares, 1_000, True, generator=generator)
        here, there = torch.tensor([1.0, -1.0, 0.0])[drawn].split(500)
        inside += float(there.mean()) <= most(float(here.mean()), here, 500)
    assert inside / 1_000 == pytest.approx(CONFIDENCE, abs=0.03)


def test_the_relative_error_of_outputs_without_classes_has_an_interval() -> None:
    """Its images' parts have the error itself as their mean, and the spread of other draws."""
    torch.manual_seed(0)
    net, other = nn.Linear(8, 1), nn.Linear(8, 1)
    with torch.no_grad():
        other.weight.copy_(net.weight + 0.05 * torch.randn(1, 8))
        other.bias.copy_(net.bias)
    bounds, errors = [], []
    for seed in range(300):
        data = torch.randn(200, 8, generator=torch.Generator().manual_seed(seed)).split(64)
        found = evaluate(other, data, reference=net)
        quality = found.quality(found)
        assert quality.measure == FIDELITY and found.drops is not None
        assert float(found.drops.mean()) == pytest.approx(quality.drop, rel=1e-9)
        bounds.append(margin.most(found, quality, 200))
        errors.append(quality.drop)
    inside = [after <= bound for bound, after in zip(bounds, errors[1:], strict=False)]
    assert sum(inside) / len(inside) == pytest.approx(CONFIDENCE, abs=0.04)
