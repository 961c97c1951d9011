"""A quantized network of one's own in integer arithmetic, from Python."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import emqlang as emq


def made() -> tuple[nn.Module, list[tuple[torch.Tensor, torch.Tensor]]]:
    random = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU6(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5),
    ).eval()  # fmt: skip
    images = [torch.rand(16, 1, 10, 10, generator=random) for _ in range(6)]
    return net, [(x, net(x).argmax(1)) for x in images]


def test_integers_agree_with_the_quantized_network() -> None:
    net, batches = made()
    recipe = emq.assign("fisher_form", emq.collect(net, batches), avg_bits=4, fix="0=8")
    quantized = emq.quantize(net, recipe, batches)
    whole = emq.integers(net, quantized, batches)
    found = emq.evaluate(whole, batches, reference=quantized.module)
    assert found.agreement == 1.0 and found.relative_error is None
    assert all(each.bits <= 32 for each in whole.accumulators)
    x = batches[0][0]
    expected = quantized.module(x)
    assert torch.allclose(whole(x), expected, atol=0.02 * float(expected.abs().max()))


def test_what_has_no_integers_is_refused() -> None:
    net, batches = made()
    recipe = emq.assign("fisher_form", emq.collect(net, batches), avg_bits=3)
    quantized = emq.quantize(net, recipe, batches)
    with pytest.raises(emq.EmqError, match="quantized is a Sequential"):
        emq.integers(net, net, batches)  # type: ignore[arg-type]
    other = nn.Sequential(nn.Conv2d(1, 6, 3), nn.GELU(), nn.Flatten(), nn.Linear(384, 5)).eval()
    bits = emq.assign("fisher_form", emq.collect(other, batches), avg_bits=3)
    with pytest.raises(emq.EmqError, match="gelu"):
        emq.integers(other, emq.quantize(other, bits, batches), batches)
    with pytest.raises(emq.EmqError):
        emq.integers(other, quantized, batches)
