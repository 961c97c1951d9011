"""`emqlang evaluate --integer`: what it shows, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import Emq

QUICK = ("--calib-images", "64", "--no-check", "--test", "noise:16", "--json")
NETWORK = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.ReLU6(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, OUTPUTS),
    ), torch.zeros(1, 1, 8, 8)

def images():
    generator = torch.Generator().manual_seed(1)
    for _ in range(2):
        yield torch.randn(32, 1, 8, 8, generator=generator), LABELS
"""


def checkpoint(emq: Emq, folder: Path, outputs: int, labels: str, *more: str) -> str:
    """A small network of one's own, quantized."""
    text = NETWORK.replace("OUTPUTS", str(outputs)).replace("LABELS", labels)
    (folder / "net.py").write_text(text)
    data = ("--data", f"{folder}/net.py:images", "--calib-images", "64", "--no-check")
    words = ("--model", f"{folder}/net.py:build", "--config", "3", *data, *more)
    done = emq("quantize", *words, "--out", str(folder / "q"))
    assert done.status == 0, done.err
    return str(folder / "q")


def test_a_classifier_agrees(emq: Emq, tmp_path: Path) -> None:
    made = checkpoint(emq, tmp_path, 4, "torch.randint(4, (32,), generator=generator)")
    done = emq("evaluate", made, "--integer")
    assert done.status == 0, done.err
    assert "in integers" in done.out and "every sum proven to fit 32 bits" in done.out
    assert "of the integer network with the quantized one" in done.err
    found = json.loads(emq("evaluate", made, "--integer", "--json").out)
    integer = found["integer"]
    assert integer["images"] == 64 and integer["agreement"] >= 0.95
    assert [each["pooled"] for each in integer["accumulators"]] == [False, False, True, False]
    widest = max(each["bits"] for each in integer["accumulators"] if not each["pooled"])
    assert integer["widest_bits"] == widest < 32 and integer["seconds"] > 0
    plain = json.loads(emq("evaluate", made, "--json").out)
    assert plain["integer"] is None
    assert plain == {**found, "integer": None}  # the quantized network's figures are the same


def test_without_classes_it_is_the_error_of_the_outputs(emq: Emq, tmp_path: Path) -> None:
    made = checkpoint(emq, tmp_path, 1, "torch.randn(32, 1, generator=generator)")
    found = json.loads(emq("evaluate", made, "--integer", "--json").out)["integer"]
    assert found["agreement"] is None and found["relative_error"] < 0.02


def test_inputs_in_floating_point_are_refused(emq: Emq, tmp_path: Path) -> None:
    """By a recipe that leaves the second layer's input as it is."""
    labels = "torch.randint(4, (32,), generator=generator)"
    recipe = Path(checkpoint(emq, tmp_path, 4, labels)) / "recipe.json"
    record = json.loads(recipe.read_text())
    record["layers"]["3"]["input"] = None
    edited = tmp_path / "edited.json"
    edited.write_text(json.dumps(record))
    words = ("--recipe", str(edited), "--calib-images", "64", "--no-check")
    done = emq("quantize", *words, "--out", str(tmp_path / "again"))
    assert done.status == 0, done.err
    done = emq("evaluate", str(tmp_path / "again"), "--integer")
    assert done.status == 2 and "error[E412]: the input of layer '3' is in floating" in done.err
    assert "help: quantize the activations, too" in done.err and not done.out


def test_the_float_network_has_no_integers(emq: Emq) -> None:
    done = emq("evaluate", "--integer")
    assert done.status == 2 and "E403" in done.err and "emqlang quantize" in done.err


@pytest.mark.slow
def test_operations_without_integers_are_named(emq: Emq, tmp_path: Path) -> None:
    done = emq(
        "quantize", "--model", "vit-fmnist", "--config", "4", *QUICK, "--out", f"{tmp_path}/q"
    )
    assert done.status == 0, done.err
    done = emq("evaluate", str(tmp_path / "q"), "--integer")
    assert done.status == 2 and "E412" in done.err
    assert "layer_norm in 'blocks.0.norm1'" in done.err and "softmax" in done.err
