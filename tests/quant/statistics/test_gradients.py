"""Statistics of a forward and a backward against loops over images."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from measured import COUNT, collect, labelled, layer_values, loss_of, outputs_of, small
from networks import SHAPES, Shared, ViT, seeded
from torch import Tensor

from emqlang.quant.networks.layers import Layer
from emqlang.quant.networks.network import Network
from emqlang.quant.ptq.grids import WeightQuantizer
from emqlang.quant.statistics import activations

Subject = tuple[Network, Tensor, Tensor]


@pytest.fixture(scope="module", params=["small", "shared", "transformer"])
def subject(request: pytest.FixtureRequest) -> Subject:
    """A chain; a network with a layer that runs twice; one whose layers see (N, L, C)."""
    if request.param == "small":
        return labelled(small(), (2, 5, 5))
    kind = {"shared": Shared, "transformer": ViT}[request.param]
    return labelled(seeded(kind), SHAPES[kind], classes=4)


def test_the_gradient_and_fisher_by_a_loop_over_images(subject: Subject) -> None:
    network, values, labels = subject
    found = collect(network, ["grad", "fisher"], values, labels)
    weights = [layer.weight for layer in network.collection.layers]
    each = [
        torch.autograd.grad(loss_of(network, values[i : i + 1], labels[i : i + 1]), weights)
        for i in range(COUNT)
    ]
    for layer, (grad, fisher) in enumerate(
        zip(layer_values(found, "grad"), layer_values(found, "fisher"), strict=True)
    ):
        slopes = torch.stack([slope[layer].flatten() for slope in each])
        torch.testing.assert_close(grad, slopes.mean(0), rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(fisher, slopes.square().mean(0), rtol=1e-4, atol=1e-9)


def test_the_fisher_form_is_the_squared_slope_along_the_quantization_error(
    subject: Subject,
) -> None:
    network, values, labels = subject
    found = collect(network, ["fisher_qerr"], values, labels, menu="4,2").array("fisher_qerr")
    weights = [layer.weight for layer in network.collection.layers]
    each = [
        torch.autograd.grad(loss_of(network, values[i : i + 1], labels[i : i + 1]), weights)
        for i in range(COUNT)
    ]
    for row, bits in enumerate((4, 2)):
        for layer in network.collection.layers:
            rows = layer.rows(layer.weight.detach())
            grid = WeightQuantizer().fit(rows, bits)
            error = layer.unrows(grid.values(grid.codes(rows)) - rows)
            expected = torch.stack(
                [(slope[layer.index] * error).sum() ** 2 for slope in each]
            ).mean()
            torch.testing.assert_close(
                float(found[row, layer.index]), float(expected), rtol=1e-4, atol=1e-12
            )


def test_the_gradient_is_that_of_the_mean_loss(subject: Subject) -> None:
    network, values, labels = subject
    whole = torch.autograd.grad(
        loss_of(network, values, labels), [layer.weight for layer in network.collection.layers]
    )
    for found, slope in zip(
        layer_values(collect(network, ["grad"], values, labels), "grad"), whole, strict=True
    ):
        torch.testing.assert_close(found, slope.flatten(), rtol=1e-4, atol=1e-6)


def by_image(
    network: Network, values: Tensor, labels: Tensor
) -> list[tuple[list[list[Tensor]], list[list[Tensor]]]]:
    """For each image, the outputs of every layer's calls, and the gradients of its loss there."""
    found = []
    for i in range(COUNT):
        seen = outputs_of(network, values[i : i + 1])
        loss = F.cross_entropy(seen.pop(), labels[i : i + 1])
        slopes = iter(torch.autograd.grad(loss, [call for calls in seen for call in calls]))
        found.append(
            (
                [[call.detach() for call in calls] for calls in seen],
                [[next(slopes) for _ in calls] for calls in seen],
            )
        )
    return found


def test_outputs_and_their_gradients_are_those_of_every_image(subject: Subject) -> None:
    network, values, labels = subject
    found = collect(network, ["act", "grad_act", "act_var"], values, labels)
    images = by_image(network, values, labels)
    for layer, (a, b) in enumerate(pairwise(found.offsets["activation"])):
        outputs = torch.cat([call.flatten() for outputs, _ in images for call in outputs[layer]])
        slopes = (
            torch.cat([call.flatten() for _, slopes in images for call in slopes[layer]]) / COUNT
        )  # of the mean loss
        assert found.totals["activation"][layer] == len(outputs) == b - a
        torch.testing.assert_close(found.array("act")[a:b], outputs, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found.array("grad_act")[a:b], slopes, rtol=1e-3, atol=1e-7)
        assert float(found.array("act_var")[layer]) == pytest.approx(
            float(outputs.double().var(correction=0)), rel=1e-5
        )


def channels(layer: Layer, values: Tensor) -> Tensor:
    """One image's values summed over everything but the channels."""
    return values.flatten(2).sum(2)[0] if "Conv" in layer.type else values.flatten(0, -2).sum(0)


def test_fisher_by_channel_is_its_formula(subject: Subject) -> None:
    network, values, labels = subject
    expected = torch.zeros(len(network.collection.layers), dtype=torch.float64)
    for outputs, slopes in by_image(network, values, labels):
        for layer in network.collection.layers:
            pairs = zip(outputs[layer.index], slopes[layer.index], strict=True)
            met = torch.stack(
                [channels(layer, (output * slope).double()) for output, slope in pairs]
            ).sum(0)
            expected[layer.index] += met.square().sum() / COUNT
    found = collect(network, ["fisher_act"], values, labels).array("fisher_act")
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-10)


def test_large_outputs_are_sampled_evenly_at_the_same_places(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(activations, "SAMPLES", 50)
    network, values, labels = labelled(small(), (2, 5, 5))
    found = collect(network, ["act", "grad_act"], values, labels)
    assert found.offsets["activation"] == (0, 50, 100, 118) and found.totals["activation"] == (
        288,
        216,
        18,
    )
    images = by_image(network, values, labels)
    outputs = torch.cat([outputs[0][0].flatten() for outputs, _ in images])
    slopes = torch.cat([slopes[0][0].flatten() for _, slopes in images]) / COUNT
    places = [int((outputs - value).abs().argmin()) for value in found.array("act")[:50]]
    edges = [position * 288 // 50 for position in range(51)]
    assert all(
        low <= place < high for place, (low, high) in zip(places, pairwise(edges), strict=True)
    ), "one of each part"
    torch.testing.assert_close(found.array("grad_act")[:50], slopes[places], rtol=1e-3, atol=1e-7)
