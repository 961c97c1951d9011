"""Learned quantizers: values are those of the grid, gradients those of the paper."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from emqlang.quant.ptq.grids import ActivationGrid, Grid, WeightQuantizer
from emqlang.quant.qat.lsq import INSIDE, LearnedInput, LearnedWeight, fake_quantize


def rows(channels: int = 5, fan_in: int = 24, seed: int = 0) -> Tensor:
    return torch.randn(channels, fan_in, generator=torch.Generator().manual_seed(seed))


def by_hand(x: float, step: float, low: int, high: int) -> tuple[float, float, float]:
    """Value, d/dx and d/dstep of one number: equations 1 to 3 of arXiv 1902.08153."""
    v = x / step
    if v < low:
        return low * step, 0.0, low
    if v > high:
        return high * step, 0.0, high
    return round(v) * step, 1.0, round(v) - v


def test_one_step_for_all_values_against_the_derivation_by_hand() -> None:
    x = torch.tensor([-3.1, -0.9, -0.26, 0.0, 0.24, 0.6, 1.74, 9.0], dtype=torch.float64)
    slope = torch.arange(1.0, 9.0, dtype=torch.float64)
    step = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    x.requires_grad_()
    values = fake_quantize(x, step, -2, 3, 0.25)
    values.backward(slope)
    expected = [by_hand(number, 0.5, -2, 3) for number in x.tolist()]
    assert values.tolist() == [value for value, _, _ in expected]
    assert x.grad is not None and step.grad is not None
    assert x.grad.tolist() == [
        of_x * s for (_, of_x, _), s in zip(expected, slope.tolist(), strict=True)
    ]
    of_step = sum(d * s for (_, _, d), s in zip(expected, slope.tolist(), strict=True))
    assert step.grad.item() == pytest.approx(0.25 * of_step, rel=1e-12)


def test_the_steps_gradient_is_that_of_the_clipped_value_and_of_the_code() -> None:
    """Beyond the range a value is `end * step`, whose derivative needs no straight-through."""
    x = torch.tensor([-9.0, 9.0], dtype=torch.float64)

    def value(step: Tensor) -> Tensor:
        return fake_quantize(x, step, -4, 3, 1.0).sum()

    assert torch.autograd.gradcheck(value, torch.tensor(0.3, dtype=torch.float64).requires_grad_())


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("symmetric", [False, True])
def test_a_weight_begins_with_its_codes(bits: int, symmetric: bool) -> None:
    weight = rows()
    grid = WeightQuantizer(symmetric=symmetric).fit(weight, bits)
    codes = grid.codes(weight)
    learned = LearnedWeight(weight, codes, grid)
    assert torch.equal(learned.values(), grid.values(codes))
    assert torch.equal(learned.quantized()[0], codes)
    kept = learned.latent.detach() == weight
    assert kept.float().mean() > 0.9, "the float weight itself, but for the edges of its cell"


def test_learned_rounding_is_kept_and_weights_are_as_near_as_that_allows() -> None:
    weight = rows()
    grid = WeightQuantizer().fit(weight, 3)
    floor = (weight / grid.scale[:, None]).floor() + grid.zero_point[:, None]
    up = torch.rand(weight.shape, generator=torch.Generator().manual_seed(1)) < 0.5
    codes = (floor + up).clamp(0, grid.levels - 1).to(torch.uint8)
    learned = LearnedWeight(weight, codes, grid)
    assert torch.equal(learned.quantized()[0], codes)
    assert torch.equal(learned.values(), grid.values(codes))
    moved = (learned.latent.detach() - weight).abs() / grid.scale[:, None]
    assert moved.max() <= 1 - INSIDE + 1e-5


def test_codes_far_from_the_float_weight_begin_at_their_own_values() -> None:
    """Those of a network that was trained before."""
    weight = rows()
    grid = WeightQuantizer().fit(weight, 4)
    codes = torch.randint(0, 16, weight.shape, generator=torch.Generator().manual_seed(2))
    learned = LearnedWeight(weight, codes.to(torch.uint8), grid)
    assert torch.equal(learned.quantized()[0].long(), codes)


def test_the_gradient_of_a_channels_step_is_scaled_by_its_size_and_range() -> None:
    weight = rows()
    grid = WeightQuantizer().fit(weight, 3)
    learned = LearnedWeight(weight, grid.codes(weight), grid)
    slope = rows(seed=3)
    learned.values().backward(slope)
    assert learned.step.grad is not None and learned.latent.grad is not None
    for channel in range(len(weight)):
        zero = int(grid.zero_point[channel])
        step, largest = float(grid.scale[channel]), max(zero, 7 - zero)
        parts = [
            by_hand(x, step, -zero, 7 - zero)[2] * s
            for x, s in zip(learned.latent[channel].tolist(), slope[channel].tolist(), strict=True)
        ]
        expected = sum(parts) / (weight.shape[1] * largest) ** 0.5
        assert float(learned.step.grad[channel]) == pytest.approx(expected, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("bits", range(4, 9))
def test_an_input_begins_with_its_grid(bits: int) -> None:
    grid = ActivationGrid.spanning(-0.7, 3.1, bits)
    learned, tensor = LearnedInput(grid), rows(8, 40)
    assert torch.equal(learned(tensor), grid(tensor)) and learned.quantized() == grid
    learned.rows = 8
    learned(tensor).backward(torch.ones_like(tensor))
    shared = 40 * max(grid.zero_point, (1 << bits) - 1 - grid.zero_point)
    low, high = -grid.zero_point, (1 << bits) - 1 - grid.zero_point
    parts = [by_hand(x, grid.scale, low, high)[2] for x in tensor.flatten().tolist()]
    assert learned.step.grad is not None
    assert float(learned.step.grad) == pytest.approx(sum(parts) / shared**0.5, rel=1e-3, abs=1e-4)


def test_numbers_of_half_precision_are_quantized_in_wider_ones() -> None:
    learned = LearnedInput(ActivationGrid.spanning(-1.0, 1.0, 8))
    narrow = rows().to(torch.bfloat16)
    assert learned(narrow).dtype == torch.bfloat16
    assert torch.equal(learned(narrow), learned(narrow.float()).to(torch.bfloat16))


def test_a_channel_of_equal_weights_is_exact() -> None:
    weight = torch.cat([torch.zeros(1, 6), torch.full((1, 6), -0.3)])
    grid = WeightQuantizer().fit(weight, 2)
    assert torch.equal(LearnedWeight(weight, grid.codes(weight), grid).values(), weight)
    assert isinstance(grid, Grid)
