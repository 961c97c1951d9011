"""Learned rounding: units, captured tensors, the written-out gradient, Fisher weights."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from itertools import pairwise
from typing import Any

import attention
import networks
import pytest
import torch
import torch.nn.functional as F
from msgspec.structs import replace
from subjects import batches, quantized, ready, recipe_for
from torch import Tensor, nn

from emqlang.quant.networks.batches import feed
from emqlang.quant.networks.layers import Layer
from emqlang.quant.networks.network import Network, load, prepare
from emqlang.quant.ptq.capture import capture_inputs, capture_outputs
from emqlang.quant.ptq.fisher import output_gradients
from emqlang.quant.ptq.grids import WeightQuantizer
from emqlang.quant.ptq.quantize import quantize
from emqlang.quant.ptq.recipe import LayerRecipe, Procedure, weight_scheme
from emqlang.quant.ptq.rounding import (
    GAMMA,
    SCHEDULE,
    ZETA,
    RoundingProgress,
    Schedule,
    SoftRounding,
)
from emqlang.quant.ptq.units import Unit, find_units

FAST = Schedule(rate=1e-2)  # for a few hundred iterations


class Residual(nn.Module):
    """A stem and two residual blocks, with in-place activations as in torchvision. (N, 3, 8, 8)"""

    class Block(nn.Module):
        def __init__(self, inplace: bool) -> None:
            super().__init__()
            self.conv1, self.conv2 = (nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))
            self.relu = nn.ReLU(inplace)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.relu(x)  # in place on what the block is given
            y = y + self.conv2(self.relu(self.conv1(y)))
            return y

    def __init__(self, inplace: bool = True) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.Sequential(self.Block(inplace), self.Block(inplace))
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.blocks(self.stem(x)).mean((2, 3)))
        return logits


def images(count: int = 32, seed: int = 0) -> Tensor:
    """With neighbours alike, as in pictures: only then can rounding errors cancel."""
    noise = torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return F.avg_pool2d(F.pad(noise, (1, 1, 1, 1), mode="circular"), 3, 1) * 3


def residual(inplace: bool = True) -> Network:
    return prepare(networks.seeded(Residual, inplace), images(2))


def output_error(
    network: Network, module: nn.Module, name: str, data: Sequence[Tensor], calls: int = 1
) -> float:
    """Mean squared error of a part's outputs over all the data, each network on its own inputs."""
    sides = (network.module, module)
    wanted, found = (
        capture_outputs(side, side.get_submodule(name), calls, data, feed) for side in sides
    )
    return sum(
        float((a - b).double().square().mean()) for a, b in zip(wanted, found, strict=True)
    ) / len(wanted)


@pytest.mark.parametrize(
    ("rounding", "parts"),
    [("adaround", ("stem", "head")), ("brecq", ("stem", "blocks.0", "blocks.1", "head"))],
)
def test_learned_rounding_lowers_the_output_error(rounding: str, parts: tuple[str, ...]) -> None:
    network, data = residual(), [images(seed=i) for i in range(2)]
    near = quantized(network, data, bits=2, act_bits=None)
    learned = quantized(
        network, data, bits=2, act_bits=None, rounding=rounding, iterations=300, schedule=FAST
    )
    for name in parts:
        assert output_error(network, learned.module, name, data) < 0.8 * output_error(
            network, near.module, name, data
        )
    for row, before in zip(learned.report, near.report, strict=True):
        assert row.output_sqnr > before.output_sqnr and row.distinct <= 4


def test_every_weight_is_rounded_down_or_up() -> None:
    network, data = residual(), [images()]
    learned = quantized(network, data, bits=3, rounding="brecq", iterations=100, schedule=FAST)
    moved = 0
    for layer in network.collection.layers:
        weight = learned.weights[layer.name]
        rows, scale, zero = (
            layer.rows(layer.weight.detach()),
            weight.grid.scale[:, None],
            weight.grid.zero_point[:, None],
        )
        floor = (rows / scale).floor() + zero
        codes = weight.codes.float()
        assert ((codes == floor.clamp(0, 7)) | (codes == (floor + 1).clamp(0, 7))).all()
        moved += int((weight.codes != weight.grid.codes(rows)).sum())
    assert moved > 0


@pytest.mark.parametrize("rounding", ["nearest", "adaround", "brecq"])
def test_symmetric_grids_keep_to_their_levels(rounding: str) -> None:
    network, data = residual(), [images()]
    recipe = recipe_for(network)
    layers = {name: LayerRecipe(weight_scheme(2, symmetric=True), None) for name in recipe.layers}
    found = quantize(
        network,
        replace(recipe, layers=layers),
        data,
        Procedure(rounding, images=32, iterations=30),
        schedule=FAST,
    )
    assert all(row.distinct <= 3 for row in found.report)
    assert all(int(weight.codes.min()) >= 1 for weight in found.weights.values())


@pytest.mark.parametrize("bits", [2, 4])
def test_the_written_gradient_is_autograds(bits: int) -> None:
    network = residual()
    layers = network.collection.layers[:2]
    quantizer = WeightQuantizer(symmetric=bits == 2)
    grids = {layer.name: quantizer.fit(layer.rows(layer.weight.detach()), bits) for layer in layers}
    rounding = SoftRounding(layers, grids, rate=1e-3)
    with torch.no_grad():
        rounding.alpha += torch.randn(
            rounding.alpha.shape, generator=torch.Generator().manual_seed(0)
        )
    alpha = rounding.alpha.detach().clone().double().requires_grad_()

    def loss(values: Sequence[Tensor]) -> Tensor:
        return sum((value.sin() * (i + 1)).sum() for i, value in enumerate(values))  # type: ignore[return-value]

    h = (alpha.sigmoid() * (ZETA - GAMMA) + GAMMA).clamp(0, 1)
    code = (rounding.floor.double() + h).clamp(rounding.lowest.double(), rounding.top.double())
    flat = (code - rounding.zero.double()) * rounding.scale.double()
    total = (
        loss(flat.split([layer.numel for layer in layers]))
        + 0.01 * (1 - (2 * h - 1).abs() ** 5).sum()
    )
    (expected,) = torch.autograd.grad(total, alpha)
    rounding.step(loss, weight=0.01, exponent=5.0)
    assert rounding.alpha.grad is not None
    torch.testing.assert_close(rounding.alpha.grad.double(), expected, rtol=1e-3, atol=1e-5)


def test_rounding_begins_at_the_weights_themselves() -> None:
    (layer, *_) = residual().collection.layers
    rows = layer.rows(layer.weight.detach())
    grid = WeightQuantizer("minmax").fit(rows, 3)
    seen: list[Tensor] = []

    def loss(values: list[Tensor]) -> Tensor:
        seen.append(values[0].detach().clone())
        return values[0].sum()

    SoftRounding([layer], {layer.name: grid}, rate=0.0).step(loss, 0.0, None)
    steps = rows / grid.scale[:, None] + grid.zero_point[:, None]
    inside = (steps >= 0) & (steps <= 7)
    assert inside.double().mean() > 0.8
    torch.testing.assert_close(layer.rows(seen[0])[inside], rows[inside], rtol=1e-4, atol=1e-5)


def test_the_regularisation_follows_the_schedule() -> None:
    assert SCHEDULE.exponent(0, 1000) is SCHEDULE.exponent(199, 1000) is None
    exponents = [SCHEDULE.exponent(step, 1000) for step in range(200, 1000)]
    assert exponents[0] == 20 and exponents[-1] == pytest.approx(2, abs=0.03)
    steps = [a - b for a, b in pairwise(exponents)]  # type: ignore[operator]
    assert steps == pytest.approx([18 / 800] * 799)


def test_progress_starts_with_an_estimate_and_ends_at_the_end() -> None:
    reports: list[RoundingProgress] = []
    quantized(residual(), [images()], rounding="adaround", iterations=150, progress=reports.append)
    assert reports[0].done == 0 and reports[0].seconds_left > 0
    assert [one.done for one in reports[1:]] == [*range(100, 900, 100), 900] and {
        one.total for one in reports
    } == {900}
    assert reports[-1].seconds_left == 0 and all(one.seconds_left >= 0 for one in reports)


@pytest.mark.parametrize("fisher", [False, True])
def test_blocks_that_write_to_their_inputs_are_learned_alike(fisher: bool) -> None:
    """ReLU in place on a block's input, or beside it: the same network, the same result."""
    data = [images(16)]
    first, second = (
        quantized(
            residual(inplace),
            data,
            rounding="brecq",
            iterations=40,
            fisher=fisher,
            schedule=FAST,
        )
        for inplace in (True, False)
    )
    assert all(
        torch.equal(first.weights[name].codes, second.weights[name].codes) for name in first.weights
    )
    assert [grid for _, grid in first.inputs] == [grid for _, grid in second.inputs]


def test_what_a_part_is_given_and_returns_is_kept_as_it_was() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(2):
                x = self.layer(x).relu_()
            return x.mul_(0)

    net, x = Twice(), torch.randn(5, 3)
    with torch.no_grad():
        first = net.layer(x)
        second = net.layer(first.relu())
    found = capture_outputs(net, net.layer, 2, [x, x], feed)
    given = capture_inputs(net, net.layer, 2, [x], feed)
    torch.testing.assert_close(torch.stack(found), torch.stack([first, second] * 2))
    torch.testing.assert_close(
        torch.stack([args[0] for args, _ in given]), torch.stack([x, first.relu()])
    )


def units(network: Network, example: Tensor, blocks: bool) -> list[Unit]:
    return list(
        find_units(network.module, network.collection.layers, [example], feed, blocks=blocks)
    )


def test_resnets_have_their_blocks() -> None:
    network = load("resnet18-fmnist")
    found = units(network, network.example, blocks=True)
    stages = [f"layer{stage}.{block}" for stage in range(1, 5) for block in range(2)]
    assert [unit.name for unit in found] == ["conv1", *stages, "fc"]
    assert found[3].layers == ("layer2.0.conv1", "layer2.0.conv2", "layer2.0.downsample.0")
    single = units(network, network.example, blocks=False)
    assert [unit.layers for unit in single] == [(unit.name,) for unit in single]
    assert {unit.name for unit in single} == {name for unit in found for name in unit.layers}


@pytest.mark.parametrize(
    ("kind", "blocks"),
    [
        (networks.ViT, 2),
        (attention.FusedViT, 2),
        (attention.Decoder, 2),
        (networks.Chain, 0),
        (networks.PreActivation, 0),
    ],
)
def test_blocks_are_found_by_what_they_do(kind: type[nn.Module], blocks: int) -> None:
    network = ready(kind)
    found = units(network, network.example, blocks=True)
    assert sum(len(unit.layers) > 1 for unit in found) == blocks
    assert sorted(name for unit in found for name in unit.layers) == sorted(
        layer.name for layer in network.collection.layers
    )


def test_large_blocks_are_taken_apart() -> None:
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.Sequential(*(nn.Linear(4, 4) for _ in range(13)))

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = x + self.parts(x)
            return y

    network = prepare(nn.Sequential(nn.Linear(4, 4), Wide()), torch.randn(2, 4))
    assert all(len(unit.layers) == 1 for unit in units(network, network.example, blocks=True))


def test_fisher_weights_are_squared_gradients_of_the_divergence() -> None:
    network = residual()
    other = deepcopy(network.module)
    with torch.no_grad():
        other.stem.weight.mul_(1.3)  # type: ignore[operator, union-attr]
    x = images(8)
    (found,) = output_gradients(network.module, other, Unit("blocks.0", (), 1), [x], feed)

    middle = other.blocks[0](other.stem(x)).detach().requires_grad_()  # type: ignore[index, operator]
    logits = other.head(other.blocks[1](middle.clone()).mean((2, 3)))  # type: ignore[index, operator]
    wanted = network.module(x).softmax(1).detach()
    (slope,) = torch.autograd.grad((wanted * (wanted.log() - logits.log_softmax(1))).sum(), middle)
    torch.testing.assert_close(found, slope.square() / slope.square().mean(), rtol=1e-3, atol=1e-4)
    assert float(found.mean()) == pytest.approx(1, rel=1e-5)


def test_fisher_weights_change_what_is_learned() -> None:
    network, data = residual(), [images()]
    settings: dict[str, Any] = {"bits": 2, "rounding": "brecq", "iterations": 100, "schedule": FAST}
    plain, weighted = (
        quantized(network, data, fisher=fisher, **settings) for fisher in (False, True)
    )
    assert any(
        not torch.equal(plain.weights[name].codes, weighted.weights[name].codes)
        for name in plain.weights
    )
    assert weighted.recipe.procedure is not None and weighted.recipe.procedure.fisher


@pytest.mark.parametrize(
    ("kind", "layer", "calls"),
    [(networks.Shared, "conv", 2), (networks.Chain, "body.6", 1), (networks.Sequence1d, "mix", 1)],
)
def test_shared_grouped_and_transposed_layers_are_learned(
    kind: type[nn.Module], layer: str, calls: int
) -> None:
    network, data = ready(kind), batches(kind)
    near = quantized(network, data, bits=2, act_bits=None)
    learned = quantized(
        network, data, bits=2, act_bits=None, rounding="adaround", iterations=150, schedule=FAST
    )
    before, after = (
        output_error(network, found.module, layer, data, calls) for found in (near, learned)
    )
    assert after < before


def test_layers_in_float_are_left_alone() -> None:
    network, data = residual(), [images()]
    recipe = recipe_for(network, 2)
    kept: dict[str, Layer] = {
        layer.name: layer for layer in network.collection.layers if layer.name.endswith("conv1")
    }
    layers = {
        name: LayerRecipe(None, None) if name in kept else entry
        for name, entry in recipe.layers.items()
    }
    found = quantize(
        network,
        replace(recipe, layers=layers),
        data,
        Procedure("brecq", images=32, iterations=20),
    )
    parts = dict(found.module.named_modules())
    assert all(torch.equal(parts[name].weight, layer.weight) for name, layer in kept.items())
    assert set(found.weights) == set(recipe.layers) - set(kept)
