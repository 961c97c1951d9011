"""ONNX and torch.export: every kind of network, run beside the quantized one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import attention
import networks
import pytest
from subjects import batches, ready
from torch import nn

from emqlang.quant.export import find_format
from emqlang.quant.export.subject import Settings, Subject
from emqlang.quant.ptq.quantize import quantize
from emqlang.quant.ptq.quantized import identity
from emqlang.quant.ptq.recipe import (
    LayerRecipe,
    Procedure,
    Recipe,
    input_scheme,
    weight_scheme,
)

KINDS = (networks.Chain, networks.Shared, networks.Sequence1d, attention.Decoder)


class Bare(nn.Sequential):
    """No layer has a bias, and each lies between two quantizers."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 6, 3, bias=False), nn.ReLU(), nn.Conv2d(6, 6, 3, bias=False), nn.ReLU(),
            nn.Flatten(), nn.Linear(96, 8, bias=False), nn.ReLU(), nn.Linear(8, 5, bias=False),
        )  # fmt: skip


def subject(kind: type[nn.Module], widths: Sequence[int | None] = range(2, 9)) -> Subject:
    """Weights at these widths and inputs at 4 to 8 bits, in turn."""
    network, data = ready(kind), batches(kind, count=4)
    layers = {
        layer.name: LayerRecipe(bits and weight_scheme(bits), input_scheme(4 + index % 5))
        for index, (layer, bits) in enumerate(zip(network.collection.layers, cycle(widths)))
    }
    recipe = Recipe(identity(network), layers)
    quantized = quantize(network, recipe, data, Procedure(images=32))
    return Subject(network, recipe, lambda: quantized, lambda: data)  # type: ignore[arg-type,return-value]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_onnxruntime_has_our_integers_on_every_edge(kind: type[nn.Module], tmp_path: Path) -> None:
    """Grouped, depthwise, transposed and 1-d convolutions, shared weights, any rank, tokens."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    out, given = tmp_path / "network.onnx", subject(kind)
    found = find_format("onnx").write(given, out, Settings()).figures["optimizations"]
    off, on = found["off"], found["on"]
    assert (off["largest"], off["agreement"]) == (0, 1.0) and off["count"] > 0
    assert on["largest"] <= 1 and on["agreement"] >= 0.99
    assert on["apart"] <= on["count"] / 1000  # biases are not rounded to the step of the sums
    again = tmp_path / "again.onnx"
    find_format("onnx").write(given, again, Settings(verify=False))
    assert again.read_bytes() == out.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("bits", [2, None])
def test_onnxruntime_leaves_weights_as_they_are(bits: int | None, tmp_path: Path) -> None:
    """It does not load UINT2 in the ops that it would make, and would round float to 8 bits."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    given = subject(Bare, [bits])
    done = find_format("onnx").write(
        given, tmp_path / "network.onnx", Settings(int2=True, images=999)
    )
    assert done.figures["images"] == sum(map(len, given.images()))  # no more are there
    held = ["weights in UINT2: 2 of 2 bits", "weights in UINT4: 2 of 2 bits"] if bits else []
    assert [line for line in done.held if line.startswith("weights")] == held
    for found in done.figures["optimizations"].values():
        assert (found["apart"], found["agreement"]) == (0, 1.0) and found["count"] > 0


@pytest.mark.slow
def test_a_program_of_torch_answers_as_the_network(tmp_path: Path) -> None:
    done = find_format("torch").write(subject(networks.Chain), tmp_path / "net.pt2", Settings())
    assert done.verified
