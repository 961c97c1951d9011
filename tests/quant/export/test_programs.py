"""ONNX and torch.export: every kind of network, run beside the quantized one."""

from __future__ import annotations

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


def subject(kind: type[nn.Module]) -> Subject:
    """Weights at 2 to 8 bits and inputs at 4 to 8, in turn."""
    network, data = ready(kind), batches(kind, count=4)
    layers = {
        layer.name: LayerRecipe(weight_scheme(2 + index % 7), input_scheme(4 + index % 5))
        for index, layer in enumerate(network.collection.layers)
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
    again = tmp_path / "again.onnx"
    find_format("onnx").write(given, again, Settings(verify=False))
    assert again.read_bytes() == out.read_bytes()


@pytest.mark.slow
def test_a_program_of_torch_answers_as_the_network(tmp_path: Path) -> None:
    done = find_format("torch").write(subject(networks.Chain), tmp_path / "net.pt2", Settings())
    assert done.verified
