"""Networks in integers: their graphs, their sums, and how near they are to the quantized ones."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import pytest
import torch
from networks import seeded
from torch import Tensor, nn
from torch.nn import functional as F

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.data.datasets import load_data
from emqlang.quant.integer.network import IntegerNetwork, integer_network
from emqlang.quant.integer.operations import Convolution, Linear, _as_matrices
from emqlang.quant.networks.network import Network, load, prepare
from emqlang.quant.ptq.evaluate import evaluate, predict
from emqlang.quant.ptq.quantize import quantize
from emqlang.quant.ptq.quantized import Quantized, identity
from emqlang.quant.ptq.recipe import LayerRecipe, Procedure, Recipe, input_scheme, weight_scheme


class Branches(nn.Module):
    """What there is: groups, strides, dilation, signed inputs, sums, both pools. (N, 3, 12, 12)"""

    shape = (3, 12, 12)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.pool = nn.MaxPool2d(3, 1, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.grouped = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=2, bias=False)
        self.same = nn.Conv2d(8, 8, 2, padding="same")
        self.point = nn.Conv2d(8, 8, 1)
        self.head = nn.Sequential(nn.Dropout(), nn.Linear(8, 10), nn.ReLU6(), nn.Linear(10, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.relu(self.norm(self.stem(x)), inplace=True))
        y = F.relu6(self.depthwise(x)) + x
        y = self.grouped(y)  # signed, and read by another layer as it is
        y = y + self.point(F.relu(self.same(y)))
        logits: Tensor = self.head(F.adaptive_avg_pool2d(y.relu() + y.clamp(-1, 1), 1).flatten(1))
        return logits


class Sequence(nn.Module):
    """In one dimension, averaged by mean. (N, 3, 20)"""

    shape = (3, 20)

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(3, 6, 5, stride=2), nn.Conv1d(6, 6, 3, padding="same")
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.second(self.first(x).relu()).mean(-1))
        return logits


def images(shape: tuple[int, ...], count: int, seed: int = 1) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed)) + 0.3


def made(net: nn.Module, shape: tuple[int, ...], act_bits: int | None = 0) -> tuple[Any, Any]:
    """Quantized with weights at 2 to 8 bits and inputs at 4 to 8 in turn, or all at `act_bits`."""
    network = prepare(net, images(shape, 2))
    widths = zip(network.collection.layers, cycle(range(2, 9)), strict=False)
    layers = {
        layer.name: LayerRecipe(
            weight_scheme(bits),
            None if act_bits is None else input_scheme(act_bits or 4 + index % 5),
        )
        for index, (layer, bits) in enumerate(widths)
    }
    recipe = Recipe(identity(network), layers)
    return network, quantize(network, recipe, [images(shape, 64, 2)], Procedure(images=64))


def fashion(name: str, count: int) -> tuple[Network, Quantized, Any]:
    """A shipped network at W2 to W8, and test images."""
    network = load(name)
    assert network.spec is not None
    layers = {
        layer.name: LayerRecipe(weight_scheme(3 + index % 2), input_scheme(8))
        for index, layer in enumerate(network.collection.layers)
    }

    def data(split: Any, count: int) -> Any:
        return load_data(
            "fashion-mnist", network.spec.images, network.classes, count=count, split=split
        )

    recipe = Recipe(identity(network), layers)
    quantized = quantize(network, recipe, data("calibration", 64), Procedure(images=64))
    return network, quantized, data("test", count)


def float_parts(whole: IntegerNetwork, codes: Tensor) -> list[str]:
    """Of the exported graph: values that are floating, and divisions."""
    program = torch.export.export(
        whole.graph, (codes,), dynamic_shapes=({0: torch.export.Dim.AUTO},)
    )
    tensors = [*program.state_dict.values(), *program.constants.values()]
    found = [str(each.dtype) for each in tensors if each.is_floating_point()]
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, Tensor) and value.is_floating_point():
            found.append(f"{node.name}: {value.dtype}")
        numbers = [each for each in node.args if isinstance(each, float)]
        if numbers or "div" in str(node.target) or "mean" in str(node.target):
            found.append(f"{node.name}: {node.target}")
    assert len(program.graph.nodes) > 20
    return found


@pytest.mark.parametrize("kind", [Branches, Sequence])
def test_every_operation_is_near_the_quantized_network(kind: type[nn.Module]) -> None:
    """Signed and unsigned inputs, weights at 2 to 8 bits, inputs at 4 to 8."""
    shape: Any = kind.shape
    network, quantized = made(seeded(kind), shape)
    whole, given = integer_network(network, quantized), images(shape, 256, 3)
    with torch.no_grad():
        expected, found = quantized.module(given), whole(given)
    # a code that falls on a half may round the other way, which moves an answer by a step
    off = (found - expected).abs() > 1e-4 * expected.abs().max()
    assert off.any(1).float().mean() < 0.05
    assert (found - expected).norm() < 0.02 * expected.norm()
    assert not float_parts(whole, whole.encode(given[:2]))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18-fmnist", "vgg-fmnist", "mobilenetv2-fmnist"])
def test_shipped_networks_agree(name: str) -> None:
    network, quantized, data = fashion(name, 256)
    whole = integer_network(network, quantized)
    reference = predict(quantized.module, data, signature=network.signature)
    found = evaluate(whole, data, reference=reference, signature=whole.signature)
    assert found.images == 256 and found.agreement is not None and found.agreement >= 0.995
    assert found.accuracy is not None and found.accuracy > 0.8
    example: Any = network.example
    assert not float_parts(whole, whole.encode(example.repeat(2, 1, 1, 1)))
    assert len(whole.accumulators) == len(network.collection.layers) + 1  # and the pool


def test_sums_stay_within_the_bits_that_are_proven() -> None:
    """On images, and on those codes that make each sum as large as it can be."""
    network, quantized = made(seeded(Branches), Branches.shape)
    whole = integer_network(network, quantized)
    proven = {each.name: each.bits for each in whole.accumulators}
    layers = [each for each in whole.graph.operations if isinstance(each, (Convolution, Linear))]
    names = [each.name for each in whole.accumulators if not each.pooled]
    seen: dict[str, int] = {}
    for name, layer in zip(names, layers, strict=True):

        def note(module: nn.Module, args: Any, name: str = name) -> None:
            seen[name] = max(seen.get(name, 0), int(args[0].abs().max()))

        layer.rescale.register_forward_pre_hook(note)
    whole(images(Branches.shape, 64, 4))
    assert len(seen) == 7 and all(seen[name] < 1 << proven[name] - 1 for name in seen)
    for site, grid in quantized.inputs:
        for name in site.layers:
            weight = quantized.weights[name]
            rows = weight.codes.long() - weight.grid.zero_point.long()[:, None]
            highest = (1 << grid.bits) - 1
            largest = max(int(rows.clamp(min=0).sum(1).max()), -int(rows.clamp(max=0).sum(1).min()))
            assert largest * highest < 1 << proven[name] - 1
    assert {each.name for each in whole.accumulators} > set(quantized.weights)


@pytest.mark.parametrize("stride, dilation, kernel", [(1, 1, 3), (2, 1, 3), (1, 2, 2), (3, 2, 1)])
def test_matrices_are_the_convolution(stride: int, dilation: int, kernel: int) -> None:
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 256, (3, 5, 11, 9), generator=generator)
    weight = torch.randint(-255, 256, (4, 5, kernel, kernel), generator=generator)
    found = _as_matrices(codes, weight, (stride, stride), (dilation, dilation))
    expected = F.conv2d(codes.double(), weight.double(), stride=stride, dilation=dilation)
    assert found.dtype == torch.int64 and torch.equal(found.double(), expected)


class Soft(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3), nn.LayerNorm(100), nn.Linear(100, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(self.conv(x).flatten(2))).mean(1).softmax(-1)
        return logits


class Wide(nn.Module):
    """40,000 products of 8 by 8 bits: 2.6e9."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(40_000, 2)
        with torch.no_grad():
            self.head.weight[:, 1:] = 0.1

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(x.flatten(1))
        return logits


class Shifted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(400, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head((self.conv(x) + 1).flatten(1))
        return logits


def refused(net: nn.Module, shape: tuple[int, ...], act_bits: int | None = 8) -> str:
    with pytest.raises(EmqError) as caught:
        integer_network(*made(net, shape, act_bits))
    (record,) = caught.value.diagnostics
    assert record.code == "E412" and record.help
    return record.message


def test_what_has_no_integer_form_is_refused_by_name() -> None:
    message = refused(seeded(Soft), (3, 12, 12))
    assert "layer_norm in 'norm'" in message and "softmax" in message
    assert "add has no integer form" in refused(seeded(Shifted), (3, 12, 12))
    assert "input is not quantized" in refused(seeded(Branches), Branches.shape, None)


def test_a_sum_beyond_32_bits_is_refused_by_its_layer() -> None:
    network = prepare(seeded(Wide), images((1, 200, 200), 2))
    recipe = Recipe(identity(network), {"head": LayerRecipe(weight_scheme(8), input_scheme(8))})
    data = [images((1, 200, 200), 4, 2)]
    quantized = quantize(network, recipe, data, Procedure(images=4))
    with pytest.raises(EmqError, match="accumulator of 'head' may take 33 bits"):
        integer_network(network, quantized)
