"""`qerr` and `act_qerr` against quantizing by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from measured import collect, data_of, labelled, layer_values, small
from networks import SHAPES, Chain, Shared, ViT, seeded
from torch import Tensor, nn

from emqlang.quant.bits.menu import parse_menu
from emqlang.quant.networks.network import Network
from emqlang.quant.ptq.calibrate import RANGES, Observed
from emqlang.quant.ptq.grids import ActivationGrid, WeightQuantizer
from emqlang.quant.statistics.collect import collect_statistics


@pytest.fixture(scope="module")
def subject() -> tuple[Network, Tensor, Tensor]:
    return labelled(small(), (2, 5, 5))


def test_qerr_is_quantized_minus_original(subject: tuple[Network, Tensor, Tensor]) -> None:
    network, values, labels = subject
    found = collect(network, ["qerr", "w"], values, labels, menu="2,4")
    for row, bits in enumerate((2, 4)):
        for layer, part in zip(network.collection.layers, layer_values(found, "qerr"), strict=True):
            rows = layer.rows(layer.weight.detach())
            grid = WeightQuantizer().fit(rows, bits)
            torch.testing.assert_close(part[row], (grid.values(grid.codes(rows)) - rows).flatten())


@pytest.mark.parametrize("method", ["mse", "minmax"])
def test_every_output_channel_of_every_kind_of_layer_has_one_grid(method: str) -> None:
    """Grouped, depthwise and transposed: cut the weight at its channels, and count their levels."""
    network, values, _ = labelled(seeded(Chain), SHAPES[Chain])
    found = collect(
        network, ["qerr", "w"], values, None, menu="2", quantizer=WeightQuantizer(method)
    )
    parts = zip(
        network.collection.layers,
        layer_values(found, "qerr"),
        layer_values(found, "w"),
        strict=True,
    )
    for layer, error, weight in parts:
        quantized = layer.unrows((weight + error[0]).view(layer.channels_out, -1))
        for channel in range(layer.channels_out):
            group, place = divmod(channel, layer.channels_out // layer.conv_groups)
            inputs = layer.channels_in // layer.conv_groups
            own = (
                quantized[group * inputs : (group + 1) * inputs, place]
                if layer.transposed
                else quantized[channel]
            )
            levels = torch.unique(torch.round(own, decimals=5))
            assert own.numel() == layer.fan_in and len(levels) <= 4, layer.name
        assert len(torch.unique(torch.round(quantized, decimals=5))) > 4, (
            "other channels have other grids"
        )


def inputs_of(network: Network, name: str, values: Tensor) -> Tensor:
    """Everything that one layer is given, flat."""
    seen: list[Tensor] = []
    weight = network.module.get_submodule(name).weight
    owners = [
        module for module in network.module.modules() if getattr(module, "weight", None) is weight
    ]
    handles = [
        module.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))
        for module in owners
    ]
    network.module(values)
    for handle in handles:
        handle.remove()
    return torch.cat([tensor.flatten() for tensor in seen])


def squared_error(grid: ActivationGrid, given: Tensor) -> float:
    """Mean squared error by the grid's definition, in float64."""
    x = given.double().numpy()
    codes = np.clip(np.round(x / grid.scale) + grid.zero_point, 0, 2**grid.bits - 1)
    return float(np.mean(((codes - grid.zero_point) * grid.scale - x) ** 2))


@pytest.mark.parametrize("kind", [Chain, Shared, ViT])
def test_act_qerr_is_what_quantizing_the_input_costs(kind: type[nn.Module]) -> None:
    network, values, _ = labelled(seeded(kind), SHAPES[kind])
    found = collect(network, ["act_qerr"], values, None, "W4A3,W4A8").array("act_qerr")
    for layer in network.collection.layers:
        given = inputs_of(network, layer.name, values)
        external = given.sort().values.equal(values.flatten().sort().values)
        seen = Observed(float(given.min()), float(given.max()), [given])
        for row, bits in enumerate((3, 8)):
            grid = RANGES["mse"](seen, 8 if external else bits)
            assert float(found[row, layer.index]) == pytest.approx(
                squared_error(grid, given), rel=1e-3
            ), layer.name


def test_act_qerr_is_near_the_least_there_is(subject: tuple[Network, Tensor, Tensor]) -> None:
    network, values, labels = subject
    found = collect(network, ["act_qerr"], values, labels, "W4A3").array("act_qerr")
    for layer in network.collection.layers[1:]:
        given = inputs_of(network, layer.name, values)
        ends = [
            (float(given.min()) * a / 40, float(given.max()) * b / 40)
            for a in range(4, 41)
            for b in range(4, 41)
        ]
        least = min(
            squared_error(ActivationGrid.spanning(low, high, 3), given) for low, high in ends
        )
        assert float(found[0, layer.index]) <= 1.15 * least


def test_act_qerr_falls_with_activation_bits(subject: tuple[Network, Tensor, Tensor]) -> None:
    network, values, labels = subject
    menu = parse_menu("W4A2,W4A4,W4A8")
    found = collect_statistics(network, ["act_qerr"], menu, data_of(values, labels)).array(
        "act_qerr"
    )
    assert found.shape == (3, 3) and (found[:, 0] == found[0, 0]).all(), (
        "the network's own input has 8 bits"
    )
    assert (found[0, 1:] > found[1, 1:]).all() and (found[1, 1:] > found[2, 1:]).all()
