"""Activation ranges: what is observed in one pass, and the grid that each observer makes of it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from networks import collection_of
from torch import Tensor, nn

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.networks.batches import feed
from emqlang.quant.ptq.calibrate import SAMPLES, Observed, calibrate, observe
from emqlang.quant.ptq.grids import ActivationGrid
from emqlang.quant.ptq.sites import Site

OBSERVERS = ("minmax", "percentile", "mse")


class Given(nn.Module):
    """One linear layer that reads the batch as it is."""

    def __init__(self, width: int = 1) -> None:
        super().__init__()
        self.layer = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        return y


def grid(batches: list[Tensor], observer: str, bits: int = 8) -> ActivationGrid:
    net = Given(batches[0].shape[-1])
    layers = collection_of(net, batches[0]).layers
    sites = (Site(("layer",), bits, True),)
    return calibrate(net, layers, sites, batches, feed, {"layer": observer}, seed=0)["layer"]


def error(grid: ActivationGrid, values: Tensor) -> float:
    """Mean squared error, in float64."""
    return float((grid(values).double() - values.double()).square().mean())


def seen(batches: list[Tensor]) -> Observed:
    net = Given(batches[0].shape[-1])
    layers = collection_of(net, batches[0]).layers
    return observe(
        net, layers, (Site(("layer",), 8, True),), batches, feed, torch.Generator().manual_seed(0)
    )["layer"]


def test_extremes_are_exact_and_memory_is_bounded() -> None:
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(100, 5000, generator=generator) for _ in range(3)]
    batches[1][40, 7], batches[2][3, 9] = 11.0, -13.0
    found = seen(batches)
    assert (found.low, found.high) == (-13, 11)
    assert abs(len(found.sample) - SAMPLES) <= len(batches)


def test_every_image_has_the_same_share_of_the_sample() -> None:
    found = seen([torch.full((rows, 40_000), float(mark)) for mark, rows in ((1, 4), (2, 12))])
    assert float((found.sample == 1).double().mean()) == pytest.approx(0.25, abs=1e-3)


@pytest.mark.parametrize("observer", OBSERVERS)
@pytest.mark.parametrize("value", [0.1, 1 / 3, -0.7, 1e-30, 0.0, 123456.789])
def test_a_constant_is_exact(value: float, observer: str) -> None:
    constant = torch.full((4, 3), value)
    assert torch.equal(grid([constant, constant], observer, bits=2)(constant), constant)


@pytest.mark.parametrize("observer", OBSERVERS)
@pytest.mark.parametrize("shift", [-5.0, 0.0, 5.0])
def test_zero_is_always_exact(observer: str, shift: float) -> None:
    values = torch.rand(64, 8, generator=torch.Generator().manual_seed(0)) + shift
    found = grid([values], observer, bits=4)
    assert float(found(torch.zeros(1))) == 0 and len(found(values).unique()) <= 16


def test_percentiles_leave_outliers_out() -> None:
    values = torch.rand(1000, 20, generator=torch.Generator().manual_seed(0))
    values[5, 5] = 1000.0
    top = {observer: 255 * grid([values], observer).scale for observer in OBSERVERS}
    assert top["minmax"] == pytest.approx(1000, rel=1e-3) and top["percentile"] == pytest.approx(
        1, rel=1e-2
    )


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_mse_is_never_worse_than_the_others(bits: int) -> None:
    generator = torch.Generator().manual_seed(bits)
    for values in (
        torch.randn(500, 40, generator=generator),
        torch.randn(500, 40, generator=generator).relu().pow(3),
    ):
        errors = {observer: error(grid([values], observer, bits), values) for observer in OBSERVERS}
        assert errors["mse"] <= 1.001 * min(errors.values())
    assert bits == 8 or errors["mse"] < 0.8 * errors["minmax"], (
        "the tail of a cube is worth clipping"
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    batches = [torch.ones(4, 3), torch.ones(4, 3)]
    batches[1][2, 1] = value
    with pytest.raises(
        EmqError, match="the input of layer 'layer' holds values that are not finite"
    ) as refused:
        grid(batches, "mse")
    assert refused.value.diagnostics[0].code == "E312"


def test_empty_tensors_say_nothing() -> None:
    found = Observed()
    for tensor in (torch.tensor([1.0, 2.0]), torch.empty(0)):
        found.add(tensor, 0.5, torch.Generator().manual_seed(0), "layer")
    assert (found.low, found.high) == (1, 2)


def test_the_same_seed_gives_the_same_grid() -> None:
    values: Any = [torch.randn(100, 5000, generator=torch.Generator().manual_seed(0))]
    assert grid(values, "mse") == grid(values, "mse")
