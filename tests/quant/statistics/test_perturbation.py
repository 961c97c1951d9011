"""`out_mse`, `kl` and `loss_inc` by quantizing a copy of the network by hand."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from attention import FusedViT
from measured import collect, data_of, labelled, outputs_of, small
from networks import seeded
from torch import Tensor, nn

from emqlang.quant.bits.menu import Choice, parse_bits, parse_menu
from emqlang.quant.networks.network import Network, prepare
from emqlang.quant.ptq.calibrate import RANGES, Observed
from emqlang.quant.ptq.grids import ActivationGrid, WeightQuantizer
from emqlang.quant.statistics import perturbation
from emqlang.quant.statistics.collect import collect_statistics

NAMES = ("out_mse", "kl", "loss_inc")
Subject = tuple[Network, Tensor, Tensor]


@pytest.fixture(scope="module", params=["single", "tied", "transformer"])
def subject(request: pytest.FixtureRequest) -> Subject:
    if request.param == "transformer":
        return labelled(seeded(FusedViT), (3, 8, 8), classes=5)
    network, values, labels = labelled(small(), (2, 5, 5))
    return (
        network
        if request.param == "single"
        else prepare(small(), values[:1], tied=[("second", "head")]),
        values,
        labels,
    )


def quantized_input(network: Network, index: int, values: Tensor, bits: int) -> ActivationGrid:
    """Quantizes a layer's input with the least squared error, the network's own with 8 bits."""
    seen: list[Tensor] = []
    layer = network.collection.layers[index]
    handle = layer.module.register_forward_pre_hook(
        lambda module, args: seen.append(args[0].detach())
    )
    network.module(values)
    handle.remove()
    (given,) = seen
    external = given.shape == values.shape and torch.equal(given, values)
    return RANGES["mse"](
        Observed(float(given.min()), float(given.max()), [given.flatten()]), 8 if external else bits
    )


def quantized(network: Network, indices: Sequence[int], choice: Choice, values: Tensor) -> Network:
    """The network with these layers quantized, weights for good and inputs by hooks."""
    copy = deepcopy(network)
    for index in indices:
        layer = copy.collection.layers[index]
        module = copy.module.get_submodule(layer.name)
        rows = layer.rows(layer.weight.detach())
        grid = WeightQuantizer().fit(rows, choice.weight_bits)
        with torch.no_grad():
            module.weight.copy_(layer.unrows(grid.values(grid.codes(rows))))  # type: ignore[operator,union-attr]
        if choice.act_bits is not None:
            values_of = quantized_input(network, index, values, choice.act_bits)
            module.register_forward_pre_hook(
                lambda module, args, values_of=values_of: (values_of(args[0]),)
            )
    return copy


@pytest.mark.parametrize(
    "menu", [parse_bits("2,3"), parse_menu("W3A3,W2A8")], ids=["bits", "pairs"]
)
def test_what_one_quantized_group_does(subject: Subject, menu: tuple[Choice, ...]) -> None:
    network, values, labels = subject
    found = collect_statistics(network, NAMES, menu, data_of(values, labels))
    with torch.no_grad():
        *plain, logits = outputs_of(network, values)
        for row, choice in enumerate(menu):
            for group in network.collection.groups:
                *moved, answer = outputs_of(
                    quantized(network, group.layers, choice, values), values
                )
                kl = F.kl_div(
                    answer.log_softmax(1),
                    logits.log_softmax(1),
                    log_target=True,
                    reduction="batchmean",
                )
                rise = F.cross_entropy(answer, labels) - F.cross_entropy(logits, labels)
                for index in group.layers:
                    noise, energy = (
                        (moved[index][0] - plain[index][0]).square().sum(),
                        plain[index][0].square().sum(),
                    )
                    main = index == group.main
                    wanted = (
                        float(noise / energy),
                        float(kl) if main else 0.0,
                        float(rise) if main else 0.0,
                    )
                    for name, value in zip(NAMES, wanted, strict=True):
                        assert float(found.array(name)[row, index]) == pytest.approx(
                            value, rel=2e-3, abs=2e-6
                        ), (name, index)


def test_how_the_images_are_batched_is_of_no_concern(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, values, labels = subject
    together = collect(network, NAMES, values, labels, "3")
    monkeypatch.setattr(perturbation, "BATCH", 4)
    apart = collect(network, NAMES, values, labels, "3")
    for name in NAMES:
        torch.testing.assert_close(apart.array(name), together.array(name), rtol=1e-3, atol=1e-6)


def test_sixteen_bits_are_nearly_nothing(subject: Subject) -> None:
    network, values, labels = subject
    found = collect(network, NAMES, values, labels, "4,16")
    for name in NAMES:
        noise = 1e-5 if name == "loss_inc" else 1e-6  # of a difference of float32 losses
        assert (found.array(name)[1].abs() <= 1e-3 * found.array(name)[0].abs() + noise).all(), name
    assert (found.array("kl") >= 0).all()


def test_weights_that_lie_on_the_grid_change_nothing() -> None:
    net = nn.Sequential(nn.Linear(4, 3))
    nn.init.constant_(net[0].weight, 0.3)
    network, values, labels = labelled(net, (4,))
    found = collect(network, NAMES, values, labels, "2")
    assert not any(found.array(name).any() for name in NAMES)
