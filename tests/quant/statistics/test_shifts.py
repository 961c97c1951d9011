"""Changes of log-likelihoods, image by image, against loops over images and labels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from measured import COUNT, collect, labelled, small
from networks import SHAPES, Shared, ViT, seeded
from torch import Tensor

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.networks.layers import readers
from emqlang.quant.networks.network import Network
from emqlang.quant.networks.rows import Rows
from emqlang.quant.ptq.grids import WeightQuantizer
from emqlang.quant.ptq.sites import replacing
from emqlang.quant.statistics.options import StatisticsOptions
from emqlang.quant.statistics.quantization_errors import find_inputs
from emqlang.quant.statistics.rounding import Nearest
from emqlang.quant.statistics.subject import Subject as Collected

Subject = tuple[Network, Tensor, Tensor]


@pytest.fixture(scope="module", params=["small", "shared", "transformer"])
def subject(request: pytest.FixtureRequest) -> Subject:
    """A chain; a network with a layer that runs twice; one whose layers see (N, L, C)."""
    if request.param == "small":
        return labelled(small(), (2, 5, 5))
    kind = {"shared": Shared, "transformer": ViT}[request.param]
    return labelled(seeded(kind), SHAPES[kind], classes=4)


def errors_of(network: Network, bits: int) -> list[Tensor]:
    """Quantized minus own weight of each layer."""
    errors = []
    for layer in network.collection.layers:
        rows = layer.rows(layer.weight.detach())
        grid = WeightQuantizer().fit(rows, bits)
        errors.append(layer.unrows(grid.values(grid.codes(rows)) - rows))
    return errors


def products(network: Network, value: Tensor, label: Tensor, bits: int) -> Tensor:
    """For each layer, the slope of log p(label) along the errors of its weight, in float64."""
    weights = [layer.weight for layer in network.collection.layers]
    grads = torch.autograd.grad(-F.cross_entropy(network.module(value), label), weights)
    pairs = zip(grads, errors_of(network, bits), strict=True)
    return torch.stack([(grad.double() * error.double()).sum() for grad, error in pairs])


def by_image(found: Any, name: str, draws: int = 1) -> Tensor:
    """(rows, layers, images, draws)."""
    values = found.array(name)
    return values.reshape(len(values), len(found.layers), COUNT, draws)


def test_shift_is_the_slope_along_the_error_of_each_image(subject: Subject) -> None:
    network, values, labels = subject
    found = collect(network, ["shift", "fisher_qerr"], values, labels, menu="4,2")
    shift = by_image(found, "shift")[..., 0]
    assert shift.dtype == torch.float32
    layers = len(found.layers)
    assert found.offsets["image"] == tuple(range(0, COUNT * layers + 1, COUNT))
    for row, bits in enumerate((4, 2)):
        for image in range(COUNT):
            one = slice(image, image + 1)
            expected = products(network, values[one], labels[one], bits)
            close = {"rtol": 1e-3, "atol": 1e-6}
            torch.testing.assert_close(shift[row, :, image].double(), expected, **close)
    mean = shift.double().square().mean(2)
    torch.testing.assert_close(mean, found.array("fisher_qerr"), rtol=1e-4, atol=1e-12)


def test_label_draws_are_of_the_networks_own_softmax_and_repeat_themselves(
    subject: Subject,
) -> None:
    """They need no labels: each value is the slope for some label, and likely ones are drawn."""
    network, values, _ = subject
    draws = 40
    found = collect(network, ["shift"], values, None, menu="3", label_draws=draws, seed=1)
    shift = by_image(found, "shift", draws)[0]
    again = collect(network, ["shift"], values, None, menu="3", label_draws=draws, seed=1)
    assert torch.equal(found.array("shift"), again.array("shift"))
    other = collect(network, ["shift"], values, None, menu="3", label_draws=draws, seed=2)
    assert not torch.equal(found.array("shift"), other.array("shift"))
    for image in range(2):
        one = values[image : image + 1]
        shares = network.module(one).softmax(1)[0]
        of_label = torch.stack(
            [products(network, one, torch.tensor([label]), 3) for label in range(len(shares))]
        )
        gaps = (shift[:, image].double()[:, :, None] - of_label.T[:, None]).abs()
        close = gaps < 1e-3 * of_label.T.abs()[:, None] + 1e-6
        assert close.any(2).all()
        label = close.all(0).double().argmax(1)
        counts = torch.bincount(label, minlength=len(shares)) / draws
        assert (counts - shares).abs().max() < 0.35


def test_act_shift_is_the_slope_along_the_error_of_the_input(subject: Subject) -> None:
    """By how far along it each layer's input alone has gone, in all its calls."""
    network, values, labels = subject
    found = collect(network, ["act_shift"], values, labels, menu="W4A4,W4A2")
    shift = by_image(found, "act_shift")[..., 0]
    rows = Rows.of([(values, labels)])
    options, nearest = StatisticsOptions(), Nearest(WeightQuantizer())
    collected = Collected(network, found.choices, rows, options, lambda *_: None, nearest)
    grids = find_inputs(collected).grids
    for layer in network.collection.layers:
        for row, bits in enumerate((4, 2)):
            way = torch.zeros(COUNT, requires_grad=True)  # one for each image

            def along(name: str, x: Tensor, bits: int = bits, way: Tensor = way) -> Tensor:
                error = grids[name][bits](x.detach()) - x.detach()
                each = way.repeat_interleave(len(x) // COUNT)
                return x + each.reshape(-1, *[1] * (x.ndim - 1)) * error

            with replacing(readers(network.module, [layer]), along):
                scores = network.module(values)
            (slope,) = torch.autograd.grad(-F.cross_entropy(scores, labels, reduction="sum"), way)
            torch.testing.assert_close(shift[row, layer.index], slope, rtol=1e-3, atol=1e-6)


def test_loss_shift_is_what_the_label_loses(subject: Subject) -> None:
    network, values, labels = subject
    found = collect(network, ["loss_shift", "loss_inc"], values, labels, menu="3,2")
    shift = by_image(found, "loss_shift")[..., 0]
    mean = -shift.double().mean(2)
    torch.testing.assert_close(mean, found.array("loss_inc"), rtol=1e-3, atol=1e-6)
    group = network.collection.groups[0]
    with torch.no_grad():
        before = -F.cross_entropy(network.module(values), labels, reduction="none")
        layers = [network.collection.layers[index] for index in group.layers]
        kept = [layer.weight.detach().clone() for layer in layers]
        for layer in layers:
            layer.weight.add_(errors_of(network, 2)[layer.index])
        after = -F.cross_entropy(network.module(values), labels, reduction="none")
        for layer, weight in zip(layers, kept, strict=True):
            layer.weight.copy_(weight)
    torch.testing.assert_close(shift[1, group.main], after - before, rtol=1e-3, atol=1e-6)


def test_all_shifts_have_the_same_labels() -> None:
    """A small error: what is measured is what the slopes say, draw by draw."""
    network, values, _ = labelled(small(), (2, 5, 5))
    names = ["shift", "loss_shift"]
    found = collect(network, names, values, None, menu="8", label_draws=5)
    slopes, measured = (by_image(found, name, 5)[0] for name in names)
    torch.testing.assert_close(slopes, measured, rtol=0.1, atol=1e-4)
    assert not torch.equal(slopes[..., 0], slopes[..., 1])


def test_a_loss_of_ones_own_is_taken_image_by_image() -> None:
    network, values, labels = labelled(small(), (2, 5, 5))

    def loss(scores: Tensor, batch: tuple[Tensor, Tensor]) -> Tensor:
        return F.cross_entropy(scores, batch[1]) * 2

    names = ["shift", "loss_shift"]
    own = collect(network, names, values, labels, menu="3", loss=loss)
    ours = collect(network, names, values, labels, menu="3")
    for name in names:
        torch.testing.assert_close(own.array(name), 2 * ours.array(name), rtol=1e-4, atol=1e-6)


def test_without_labels_it_says_what_to_do() -> None:
    network, values, _ = labelled(small(), (2, 5, 5))
    with pytest.raises(EmqError, match="E304"):
        collect(network, ["shift"], values, None)
    with pytest.raises(EmqError, match="E403"):
        collect(network, ["shift"], values, None, label_draws=0)
