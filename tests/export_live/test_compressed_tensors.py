"""A compressed-tensors folder, loaded and decompressed by the library; skipped without it.

Measured with compressed-tensors 0.20.0, on CPU with torch 2.13.0.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from commands import Emq
from safetensors.torch import load_file
from torch import nn

import emqlang as emq_api
from emqlang.quant.export.compressed import packed

pytest.importorskip("compressed_tensors", reason="compressed-tensors is not installed")

WIDTHS = (20, 37, 64, 31, 40, 33, 45, 10)
MODEL = f"""
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    layers = []
    for inputs, outputs in zip({WIDTHS}, {WIDTHS[1:]}):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()
"""


def network() -> nn.Sequential:
    scope: dict[str, object] = {}
    exec(MODEL, scope)
    found = scope["build"]()  # type: ignore[operator]
    assert isinstance(found, nn.Sequential)
    return found


def test_the_library_loads_and_decompresses_our_values_at_every_width(
    emq: Emq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compressed_tensors.compressors import ModelCompressor
    from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config

    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(MODEL)
    data = ("--data", "noise:32", "--input", "20", "--calib-images", "32")
    words = ("--model", "own.py:build", "--config", "2,3,4,5,6,7,8", "--out", "net", *data)
    assert emq("quantize", *words, "--no-check").status == 0
    done = emq("export", "net", "--to", "compressed-tensors", "-o", "folder", *data[:2], "--json")
    assert done.status == 0, done.err
    assert "bit for bit" in json.loads(done.out)["verified"][0]

    model = network()
    record = json.loads(Path("folder/config.json").read_text())["quantization_config"]
    config = QuantizationConfig.model_validate(record)
    apply_quantization_config(model, config)
    compressor = ModelCompressor(quantization_config=config)
    compressor.compress_model(model)
    model.load_state_dict(load_file("folder/model.safetensors"))
    compressor.decompress_model(model)
    ours = emq_api.load_quantized("net", network(), [torch.randn(2, 20)]).module
    for index, bits in enumerate(range(2, 9)):
        found, expected = model[2 * index], ours.get_submodule(str(2 * index))
        assert torch.equal(found.weight, expected.weight)  # type: ignore[arg-type]
        assert torch.equal(found.bias, expected.bias)  # type: ignore[arg-type]
        assert max(len(row.unique()) for row in found.weight.detach()) <= 2**bits


@pytest.mark.parametrize("bits", range(1, 9))
def test_codes_are_packed_as_the_library_packs_them(bits: int) -> None:
    from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32

    generator = torch.Generator().manual_seed(bits)
    for shape in ((1, 1), (3, 31), (5, 32), (2, 100)):
        codes = torch.randint(0, 2**bits, shape, generator=generator, dtype=torch.uint8)
        signed = (codes.int() - 2 ** (bits - 1)).to(torch.int8)
        assert torch.equal(packed(codes, bits), pack_to_int32(signed, bits))
        assert torch.equal(packed(codes.T, bits).T, pack_to_int32(signed, bits, packed_dim=0))
