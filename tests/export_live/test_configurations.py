"""Configurations applied by the quantizers that they are for; skipped where one is not installed.

Measured with torchao 0.18.0, nvidia-modelopt 0.47.0, auto-round 0.16.1, gptqmodel 7.7.0 and gguf
0.19.0, on CPU with torch 2.13.0.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Emq
from torch import Tensor, nn

from emqlang.quant.export import gguf
from emqlang.quant.ptq.grids import WeightQuantizer

MODEL = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.Flatten()]
    widths = (128, 32, 64, 48, 64, 96, 64, 32)
    for inputs, outputs in zip(widths, widths[1:]):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()
"""
CONVS = ("0", "2")
BITS = (4, 5, 2, 3, 4, 5, 6, 7, 8)  # of the convolutions, and of the linear layers


@pytest.fixture
def recipe(emq: Emq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(MODEL)
    words = ("--model", "own.py:build", "--input", "1x8x8", "--config", ",".join(map(str, BITS)))
    assert emq("assign", *words, "--out", "recipe.json").status == 0
    return "recipe.json"


def network() -> nn.Sequential:
    scope: dict[str, Any] = {}
    exec(MODEL, scope)
    found: nn.Sequential = scope["build"]()
    return found


def written(emq: Emq, recipe: str, name: str, *words: str) -> Any:
    if "--requantize" in words:
        words = (*words, "--test", "noise:32", "--calib-images", "32")
    done = emq("export", recipe, "--to", name, "-o", name, "--data", "noise:32", *words)
    assert done.status == 0, done.err
    return json.loads(Path(name).read_text())


def layers(model: nn.Module) -> dict[str, int]:
    """Layer -> the bits that were asked for."""
    kinds = (nn.Conv2d, nn.Linear)
    names = [name for name, module in model.named_modules() if isinstance(module, kinds)]
    return dict(zip(names, BITS, strict=True))


def levels(weight: Tensor) -> int:
    """The most different values in one output channel."""
    return max(len(row.unique()) for row in weight.detach().flatten(1))


def test_torchao_gives_every_linear_layer_its_bits(emq: Emq, recipe: str) -> None:
    pytest.importorskip("torchao", reason="torchao is not installed")
    from torchao.core.config import config_from_dict
    from torchao.quantization import quantize_

    plain, model = network(), network()
    config = written(emq, recipe, "torchao", "--requantize", "--partial")
    quantize_(model, config_from_dict(config), filter_fn=None)
    for name, bits in layers(plain).items():
        weight, before = (m.get_submodule(name).weight.detach() for m in (model, plain))
        if name in CONVS:
            assert torch.equal(weight, before)
            continue
        values = weight.dequantize()  # type: ignore[operator]
        grid = WeightQuantizer("minmax").fit(before, bits)
        assert levels(values) <= 2**bits and (bits > 4 or levels(values) > 2 ** (bits - 1))
        assert torch.allclose(values, grid.values(grid.codes(before)), atol=1e-6)


def test_modelopt_gives_every_layer_its_bits(emq: Emq, recipe: str) -> None:
    mtq = pytest.importorskip("modelopt.torch.quantization", reason="ModelOpt is not installed")
    plain, model = network(), network()
    config = written(emq, recipe, "modelopt", "--requantize")
    model = mtq.quantize(model, config, lambda module: module(torch.randn(4, 1, 8, 8)))
    for name, bits in layers(plain).items():
        layer, before = model.get_submodule(name), plain.get_submodule(name).weight.detach()
        values = layer.weight_quantizer(layer.weight).detach()
        grid = WeightQuantizer("minmax", symmetric=True).fit(before.flatten(1), bits)
        assert layer.weight_quantizer.is_enabled and layer.input_quantizer.is_enabled
        assert layer.input_quantizer.num_bits == 8
        assert layer.weight_quantizer.num_bits == bits and levels(values) <= 2**bits - 1
        expected = grid.values(grid.codes(before.flatten(1))).view_as(before)
        assert torch.allclose(values, expected, atol=1e-6)


def test_autoround_resolves_every_layer_to_its_bits(emq: Emq, recipe: str) -> None:
    utils = pytest.importorskip("auto_round.compressors.utils", reason="AutoRound is not installed")
    model = network()
    config = written(emq, recipe, "autoround", "--partial")["layer_config"]
    utils.set_layer_config(
        model, config, "W4A16", torch.float16, (nn.Linear,), ("Linear",), quant_lm_head=True
    )
    for name, bits in layers(model).items():
        if name not in CONVS:
            found = model.get_submodule(name)
            held = bits in (2, 3, 4, 8) and not any(side % 32 for side in found.weight.shape)
            assert found.bits == (bits if held else 16)
            assert found.act_bits == 16


def test_gptqmodel_resolves_every_layer_to_its_bits(emq: Emq, recipe: str) -> None:
    configs = pytest.importorskip(
        "gptqmodel.quantization.config", reason="GPTQModel is not installed"
    )
    config = configs.QuantizeConfig(**written(emq, recipe, "gptqmodel", "--partial"))
    for name, bits in layers(network()).items():
        if name in CONVS or bits not in (2, 3, 4, 8):
            assert config.dynamic_get(name) is False
        else:
            assert config.dynamic_get(name, "bits", config.bits) == bits
            assert config.dynamic_get(name, "group_size", config.group_size) == -1


def test_gguf_has_the_types_blocks_and_names() -> None:
    package = pytest.importorskip("gguf", reason="gguf is not installed")
    for kind, block in gguf.BLOCKS.items():
        assert package.GGML_QUANT_SIZES[package.GGMLQuantizationType[kind]][0] == block
    for bits, kinds in gguf.BY_BITS.items():
        for kind in kinds:
            block, size = package.GGML_QUANT_SIZES[package.GGMLQuantizationType[kind]]
            assert bits <= 8 * size / block < bits + 1
    names = package.get_tensor_name_map(package.MODEL_ARCH.LLAMA, 3)
    every = [f"model.layers.2.{part}" for part in gguf.PARTS] + list(gguf.WHOLE)
    assert [names.get_name(name) for name in every] == [gguf.tensor(name) for name in every]
