"""`emqlang export`: every format from the command line, and what is refused."""

from __future__ import annotations

import csv
import json
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import Emq, record
from places import ROOT
from safetensors.torch import load_file

import emqlang as emq_api
from emqlang.quant import sealed
from emqlang.quant.data.images import FASHION_MNIST
from emqlang.quant.models import EMBEDDED
from emqlang.quant.networks.network import load
from emqlang.quant.ptq.quantized import Quantized, load_quantized

WORDS = ("--calib-images", "64", "--no-check", "--test", "noise:16")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("export") / "quantized"


@pytest.fixture
def checkpoint(emq: Emq, folder: Path) -> Path:
    """The embedded network at 2 to 8 bits, quantized once."""
    if not folder.exists():
        config = ",".join(str(2 + index % 7) for index in range(18))
        done = emq("quantize", "--config", config, *WORDS, "--out", str(folder))
        assert done.status == 0, done.err
    return folder


@pytest.mark.slow
def test_the_pages_script_runs_what_the_command_wrote(
    emq: Emq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The way of README: assign, quantize, export, and onnxruntime on its own."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    for line in (
        "assign bit_sum --avg-bits 3 --out recipe.json",
        "quantize --recipe recipe.json --out quantized --no-check --calib-images 64",
        "export quantized --to onnx -o network.onnx --images 16",
    ):
        done = emq(*line.split())
        assert done.status == 0, done.err
    data = load_file(EMBEDDED / "fashion-mnist.safetensors")
    images = FASHION_MNIST.normalise(data["test_images"][:1000, None])
    with torch.no_grad():
        answers = original(tmp_path / "quantized").module(images).argmax(1)
    page = (ROOT / "docs" / "export.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    capsys.readouterr()
    (tmp_path / "run.py").write_text(code)
    runpy.run_path("run.py")
    share = float(capsys.readouterr().out.split("%")[0]) / 100
    ours = (answers == data["test_labels"][:1000]).float().mean().item()
    assert ours > 0.8 and share == pytest.approx(ours, abs=0.005)


def exported(emq: Emq, *words: str, status: int = 0) -> dict[str, Any]:
    return record(emq, "export", *words, status=status)


def original(checkpoint: Path) -> Quantized:
    return load_quantized(checkpoint, load("resnet18-fmnist"))


def test_safetensors_is_the_checkpoint_in_one_file(
    emq: Emq, checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "packed.safetensors"
    done = exported(emq, str(checkpoint), "--to", "safetensors", "-o", str(out))
    assert out.read_bytes() == (checkpoint / "model.safetensors").read_bytes()
    assert done["verified"] and done["bytes"] == out.stat().st_size
    tensors = sealed.read(out)[0].values()
    assert done["figures"]["tensor_bytes"] == sum(tensor.nbytes for tensor in tensors)
    again = emq_api.load_quantized(out)
    assert again.recipe == original(checkpoint).recipe


def test_json_gives_the_weights_back(emq: Emq, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "bits.json"
    exported(emq, str(checkpoint), "--to", "json", "-o", str(out))
    layers = json.loads(out.read_text())["layers"]
    quantized = original(checkpoint)
    assert layers.keys() == quantized.recipe.layers.keys()
    for name, weight in quantized.weights.items():
        said = layers[name]["weight"]
        assert said["bits"] == weight.grid.bits == quantized.recipe.bits[name]
        assert torch.equal(torch.tensor(said["scale"]), weight.grid.scale)
        assert said["zero_point"] == weight.grid.zero_point.tolist()
    for site, grid in quantized.inputs:
        for name in site.layers:
            said = {"bits": grid.bits, "scale": grid.scale, "zero_point": grid.zero_point}
            assert layers[name]["input"] == said


def test_csv_has_what_json_has(emq: Emq, checkpoint: Path, tmp_path: Path) -> None:
    for format in ("csv", "json"):
        exported(emq, str(checkpoint), "--to", format, "-o", str(tmp_path / format))
    layers = json.loads((tmp_path / "json").read_text())["layers"]
    assert list(_rows(layers)) == list(csv.DictReader((tmp_path / "csv").open()))


def _rows(layers: dict[str, Any]) -> Iterator[dict[str, str]]:
    for name, layer in layers.items():
        weight, read = layer["weight"], layer["input"]
        channels = enumerate(zip(weight["scale"], weight["zero_point"], strict=True))
        places = [("weight", str(place), weight["bits"], *pair) for place, pair in channels]
        for row in (*places, ("input", "", *read.values())):
            columns = ("tensor", "channel", "bits", "scale", "zero_point")
            yield {"layer": name, **dict(zip(columns, map(str, row), strict=True))}


def test_a_recipe_is_rounded_to_the_nearest(emq: Emq, checkpoint: Path, tmp_path: Path) -> None:
    recipe = str(checkpoint / "recipe.json")
    words = ("--to", "json", "--calib-images", "64", "-o")
    done = emq("export", recipe, *words, str(tmp_path / "recipe"))
    assert done.status == 0 and "to the nearest value, 64 images" in done.out
    exported(emq, str(checkpoint), "--to", "json", "-o", str(tmp_path / "checkpoint"))
    assert (tmp_path / "recipe").read_bytes() == (tmp_path / "checkpoint").read_bytes()


REFUSED = [
    ("--to nncf", 2, "E411", "one low width for a whole network"),
    ("--to jsn", 2, "E403", "did you mean 'json'?"),
    ("--to json --weights random", 3, "E311", "the recipe is for resnet18-fmnist"),
    ("--to json --model vgg-fmnist", 3, "E311", "the recipe is for resnet18-fmnist"),
]


@pytest.mark.parametrize(("words", "status", "code", "said"), REFUSED)
def test_what_cannot_be_exported_leaves_no_file(
    emq: Emq, checkpoint: Path, tmp_path: Path, words: str, status: int, code: str, said: str
) -> None:
    out = tmp_path / "out"
    done = emq("export", str(checkpoint), *words.split(), "-o", str(out))
    assert done.status == status and code in done.err and said in done.err
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_not_written_over(emq: Emq, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "bits.json"
    out.write_text("mine")
    words = ("export", str(checkpoint), "--to", "json", "-o", str(out))
    refused = emq(*words)
    assert refused.status == 3 and "E317" in refused.err and out.read_text() == "mine"
    assert emq(*words, "--force").status == 0 and out.read_text() != "mine"
    missing = emq("export", str(tmp_path / "no.json"), "--to", "json", "-o", str(tmp_path / "x"))
    assert missing.status == 3 and "E301" in missing.err and not (tmp_path / "x").exists()


def test_configurations_of_quantizers_with_a_grid_of_their_own(
    emq: Emq, checkpoint: Path, tmp_path: Path
) -> None:
    out, words = tmp_path / "c.json", ("--test", "noise:16")
    refused = emq("export", str(checkpoint), "--to", "modelopt", "-o", str(out))
    assert refused.status == 2 and "--requantize" in refused.err and not out.exists()
    done = exported(
        emq, str(checkpoint), "--to", "modelopt", "-o", str(out), "--requantize", *words
    )
    rows = json.loads(out.read_text())["quant_cfg"][1:]
    weights = [row for row in rows if row["quantizer_name"].endswith(".weight_quantizer")]
    assert [row["cfg"]["num_bits"] for row in weights] == list(
        original(checkpoint).recipe.bits.values()
    )
    assert done["figures"]["images"] == 16
    assert done["figures"]["requantized"] < done["figures"]["recipe"]
    refused = emq("export", str(checkpoint), "--to", "autoround", "-o", str(tmp_path / "a"))
    assert refused.status == 2 and "no layer is left that AutoRound holds" in refused.err


@pytest.fixture
def allocated(emq: Emq, tmp_path: Path) -> Path:
    """Types of three tensors, chosen by measured scores."""
    scores, bits = tmp_path / "scores.csv", tmp_path / "bits.json"
    rows = [f"blk.{i}.attn_q,4096,Q{b}_K,{b + 0.5},{-i / b}\n" for i in range(3) for b in (4, 6)]
    scores.write_text("name,numel,choice,bits,score\n" + "".join(rows))
    words = ("assign", "--scores", str(scores), "--avg-bits", "5.5", "--out", str(bits))
    assert emq(*words).status == 0
    return bits


def test_chosen_by_measured_scores(emq: Emq, allocated: Path, tmp_path: Path) -> None:
    out, bits = tmp_path / "types.txt", allocated
    done = exported(emq, str(bits), "--to", "gguf", "-o", str(out))
    assert done["model"] is None and done["held"][0].startswith("the bits of 3 layers")
    types = [line.split("=")[1] for line in out.read_text().splitlines()]
    assert types == ["Q4_K", "Q4_K", "Q6_K"]
    words = ("export", str(bits), "--to", "modelopt", "-o", str(tmp_path / "m"), "--requantize")
    refused = emq(*words, "--model", "resnet18")
    assert refused.status == 2 and refused.err.count("they need no network") == 2
    refused = emq("export", str(bits), "--to", "safetensors", "-o", str(tmp_path / "x.safetensors"))
    assert refused.status == 2 and "without a network" in refused.err


def test_bits_by_measured_scores_as_json_and_csv(emq: Emq, allocated: Path, tmp_path: Path) -> None:
    for format in ("csv", "json"):
        exported(emq, str(allocated), "--to", format, "-o", str(tmp_path / format))
    record = json.loads((tmp_path / "json").read_text())
    assert record["model"] is None
    assert record["layers"]["blk.0.attn_q"] == {"choice": "Q4_K", "bits": 4.5, "numel": 4096}
    rows = list(csv.DictReader((tmp_path / "csv").open()))
    assert [row["choice"] for row in rows] == ["Q4_K", "Q4_K", "Q6_K"]
    assert list(rows[0]) == ["layer", "choice", "bits", "numel"]


def test_groups_and_widths_that_do_not_fit_are_all_named(emq: Emq, tmp_path: Path) -> None:
    layers = {name: {"choice": "4g128", "bits": 4.0, "numel": 100} for name in ("a", "b")}
    layers["c"] = {"choice": "W5", "bits": 5.0, "numel": 128}
    bits = {"schema": "emqlang-allocation", "schema_version": 1, "layers": layers}
    (tmp_path / "bits.json").write_text(json.dumps(bits))
    words = ("export", str(tmp_path / "bits.json"), "--to", "gptqmodel", "-o", str(tmp_path / "c"))
    refused = emq(*words)
    assert refused.status == 2 and "'a', 'b': groups of 128 do not divide" in refused.err
    assert "'c': 5 bits: GPTQModel has 2, 3, 4, 8" in refused.err and not (tmp_path / "c").exists()


def test_a_file_that_runs_otherwise_is_not_left(
    emq: Emq, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    from emqlang.quant.export import onnx as writer

    build = writer.build

    def wrong(*args: Any, **settings: Any) -> Any:
        model = build(*args, **settings)
        (scale,) = [each for each in model.graph.initializer if each.name == "fc.input_scale"]
        scale.raw_data = np.float32(2 * np.frombuffer(scale.raw_data, np.float32)[0]).tobytes()
        return model

    monkeypatch.setattr(writer, "build", wrong)
    done = emq("export", str(checkpoint), "--to", "onnx", "-o", str(tmp_path / "x.onnx"))
    assert done.status == 1 and "E504" in done.err and "the input of 'fc' is up to" in done.err
    assert "help: docs/export.md names the versions" in done.err
    assert not list(tmp_path.glob("*x.onnx*"))


FORWARDS = [
    ("self[1](torch.special.bessel_j0(self[0](x)).mean((2, 3)))", "bessel_j0"),
    ("self[1](self[0](x if x.sum() > 0 else -x).mean((2, 3)))", "own.py, line 4"),
]


@pytest.mark.parametrize(("forward", "named"), FORWARDS)
def test_what_cannot_be_converted_is_named(
    emq: Emq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forward: str, named: str
) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Sequential):\n"
        "    def forward(self, x):\n"
        f"        return {forward}\n"
        "def build():\n"
        "    return Net(torch.nn.Conv2d(4, 4, 1), torch.nn.Linear(4, 9)).eval()\n"
    )
    model = ("--model", "own.py:build", "--input", "4x4x4", "--data", "noise:32")
    words = ("--config", "5,5", "--no-check", "--calib-images", "32", "--out", "net")
    assert emq("quantize", *words, *model).status == 0
    refused = emq("export", "net", "--to", "onnx", "-o", "net.onnx")
    assert refused.status == 2 and "E411" in refused.err and named in refused.err
    assert "--to safetensors needs no forward" in refused.err and "\x1b" not in refused.err
    assert len(refused.err.splitlines()) <= 4 and not Path("net.onnx").exists()


def test_a_folder_for_compressed_tensors(
    emq: Emq, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--to", "compressed-tensors", "-o")
    refused = emq("export", str(checkpoint), *words, str(tmp_path / "x"))
    assert refused.status == 2 and "batch norms of this are folded" in refused.err
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(
        "from torch import nn\n"
        "def build():\n"
        "    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 40)).eval()\n"
    )
    model = ("--model", "own.py:build", "--input", "1x4x4", "--data", "noise:32")
    net = ("quantize", "--config", "5", *WORDS[2:3], "--calib-images", "32", "--out", "net")
    assert emq(*net, *model).status == 0
    refused = emq("export", "net", *words, "folder")
    assert refused.status == 2 and "'0': compressed-tensors quantizes Linear" in refused.err
    done = exported(emq, "net", *words, "folder", "--partial", "--no-verify")
    assert list(done["ignored"]) == ["0"] and done["unverified"] == "--no-verify"
    sizes = [file.stat().st_size for file in Path("folder").iterdir()]
    assert done["bytes"] == sum(sizes) and len(sizes) == 2
    tensors, _, _ = sealed.read(Path("folder/model.safetensors"))
    assert {name: list(tensor.shape) for name, tensor in tensors.items()} == {
        "0.bias": [2],
        "0.weight": [2, 1, 3, 3],
        "2.bias": [40],
        "2.weight_packed": [40, 2],
        "2.weight_scale": [40, 1],
        "2.weight_shape": [2],
        "2.weight_zero_point": [7, 1],
    }
    config = json.loads(Path("folder/config.json").read_text())["quantization_config"]
    (group,) = config["config_groups"].values()
    assert group["targets"] == ["2"] and group["weights"]["num_bits"] == 5
    again = ("export", "net", *words, "folder", "--partial", "--no-verify")
    refused = emq(*again)
    assert refused.status == 3 and "E317" in refused.err
    Path("folder/model.safetensors").write_bytes(b"")
    assert emq(*again, "--force").status == 0
    assert [file.stat().st_size for file in Path("folder").iterdir()] == sizes
    Path("folder/mine").write_text("")
    refused = emq(*again, "--force")
    assert refused.status == 3 and "a folder that no export has made" in refused.err
    assert Path("folder/mine").exists()
    assert {place.name for place in Path().iterdir() if place.is_dir()} >= {"folder", "net"}


NETWORK = """
import torch
from torch import nn
class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rows, self.head = nn.GRU(6, 8, batch_first=True), nn.Linear(8, 3)
    def forward(self, x):
        return self.head(self.rows(x)[0][:, -1])
def build():
    torch.manual_seed(0)
    return Recurrent(), torch.zeros(1, 4, 6)
def data():
    return [torch.randn(32, 4, 6, generator=torch.Generator().manual_seed(0))]
"""


def test_what_stays_in_float_is_said_once(
    emq: Emq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(NETWORK)
    words = ("--model", "own.py:build", "--data", "own.py:data", "--calib-images", "32")
    assert emq("quantize", "--config", "4", *words, "--out", "q").status == 0
    done = emq("export", "q", "--to", "safetensors", "-o", "x.safetensors")
    assert done.status == 0 and done.err.count("W605") == 1
