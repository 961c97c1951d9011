"""`emqlang quantize` and `emqlang evaluate`: checkpoints score the same, runs resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import Emq, record
from loaders import LOADER, Quick, quick
from own_network import own

__all__ = ["own", "quick"]  # fixtures


def quantized(emq: Emq, *arguments: str, status: int = 0) -> dict[str, Any]:
    return record(emq, "quantize", *arguments, status=status)


def test_the_checkpoint_scores_what_was_reported(emq: Emq, quick: Quick, tmp_path: Path) -> None:
    done = quantized(emq, "-sum(square(qerr))", "--avg-bits", "3", *quick, "--out", str(tmp_path))
    assert done["schema"] == "emqlang.quantize/1" and done["before"]["accuracy"] == pytest.approx(
        0.93, abs=0.03
    )
    assert 0.8 < done["after"]["accuracy"] < done["before"]["accuracy"]
    for path in (tmp_path, tmp_path / "model.safetensors"):
        again = json.loads(emq("evaluate", str(path), *quick[-2:], "--json").out)
        assert {name: again[name] for name in done["after"]} == done["after"]
    assert json.loads((tmp_path / "recipe.json").read_text())["procedure"]["rounding"] == "nearest"


def test_two_runs_write_the_same_bytes(emq: Emq, quick: Quick, tmp_path: Path) -> None:
    for name in ("one", "two"):
        quantized(
            emq, "-sum(square(qerr))", "--avg-bits", "3", *quick, "--out", str(tmp_path / name)
        )
    for file in ("model.safetensors", "recipe.json"):
        one, two = ((tmp_path / name / file).read_bytes() for name in ("one", "two"))
        assert one == two, file


def test_every_layer_is_reported_with_the_proof_of_its_bits(emq: Emq, quick: Quick) -> None:
    layers = quantized(emq, "--config", "3", *quick)["layers"]
    assert len(layers) == 21 and all(layer["distinct"] <= 8 for layer in layers)
    assert all(
        layer["weight_bits"] == 3 and layer["input_bits"] == 8 and layer["weight_sqnr"] > 8
        for layer in layers
    )


def test_a_recipe_goes_from_assign_to_quantize(emq: Emq, quick: Quick, tmp_path: Path) -> None:
    recipe = str(tmp_path / "recipe.json")
    assert emq("assign", "-sum(square(qerr))", "--avg-bits", "3", "--out", recipe).status == 0
    one = quantized(emq, "--recipe", recipe, *quick)
    two = quantized(emq, "-sum(square(qerr))", "--avg-bits", "3", *quick)
    assert one["after"] == two["after"]


def test_a_recipe_names_its_network_and_images(emq: Emq, own: Path) -> None:
    named = ("--model", "my.py:build", "--data", "my.py:data", "--input", "1x28x28")
    assert emq("assign", "mean(abs(w))", "--avg-bits", "3", *named, "--out", "r.json").status == 0
    words = ("--recipe", "r.json", "--calib-images", "64", "--no-check", "--test", "my.py:test")
    done = emq("quantize", *words, "--json")
    assert "as r.json says: --model my.py:build --data my.py:data --input 1x28x28" in done.err
    told = emq("quantize", *words, *named, "--json")
    assert "as r.json says" not in told.err
    assert json.loads(done.out)["after"] == json.loads(told.out)["after"]


def test_an_edited_recipe_loses_its_figures(emq: Emq, own: Path) -> None:
    named = ("--model", "my.py:build", "--data", "my.py:data")
    emq("assign", "mean(abs(w))", "--avg-bits", "3", *named, "--out", "r.json")
    record = json.loads(Path("r.json").read_text())
    for layer in record["layers"].values():
        layer["weight"]["num_bits"] = 8
    Path("r.json").write_text(json.dumps(record))
    done = emq("quantize", "--recipe", "r.json", "--calib-images", "64", "--out", "q")
    assert done.status == 0 and "W611" in done.err
    written = json.loads(Path("q/recipe.json").read_text())
    assert (written["achieved"], written["budget"], written["solver"]) == ({}, {}, None)


def test_learned_rounding_beats_nearest_at_two_bits(emq: Emq, quick: Quick) -> None:
    after = {
        rounding: quantized(emq, "--config", "2", "--rounding", rounding, *iterations, *quick)[
            "after"
        ]["accuracy"]
        for rounding, iterations in (("nearest", ()), ("brecq", ("--iters", "40")))
    }
    assert after["brecq"] > after["nearest"] + 0.1


@pytest.mark.parametrize("range", ["minmax", "percentile"])
def test_ranges(emq: Emq, quick: Quick, range: str) -> None:
    other, mse = (
        quantized(emq, "--config", "4", "--range", way, *quick)["layers"] for way in (range, "mse")
    )
    assert sum(row["weight_sqnr"] for row in other) < sum(row["weight_sqnr"] for row in mse)


def test_the_check_of_8_bits_comes_first(emq: Emq) -> None:
    check = quantized(emq, "--config", "4", "--calib-images", "64")["check"]
    assert check["passed"] and check["measure"] == "accuracy" and check["suspects"] == []


def test_without_labels_there_is_agreement(emq: Emq, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(LOADER)
    data = f"{tmp_path / 'own.py'}:images"
    quick = ("--calib-images", "64", "--no-check")
    done = quantized(emq, "--config", "4", *quick, "--data", data)
    assert (
        done["after"]["accuracy"] is None
        and 0 < done["after"]["agreement"] <= 1
        and done["after"]["kl"] >= 0
    )
    shown = emq("quantize", "--config", "4", *quick, "--data", data)
    assert "no labels: agreement with the float network on 96 images" in shown.err
    assert "calibration images among them" in " ".join(shown.out.split())


def test_the_screen(emq: Emq, quick: Quick) -> None:
    shown = emq("quantize", "--config", "4", *quick).out
    assert "accuracy" in shown and "dB" in shown and "not made" in shown and "float" in shown


def test_an_interrupted_run_goes_on(
    emq: Emq, quick: Quick, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finished units are kept; the same command resumes from them and makes the same network."""
    from emqlang.quant.ptq.rounding import Reconstruction

    arguments = ("--config", "3", "--rounding", "brecq", "--iters", "20", *quick, "--out")
    whole = quantized(emq, *arguments, str(tmp_path / "whole"))
    round_unit, rounded = Reconstruction._round, []

    def stopping(self: Any, unit: Any, *rest: Any) -> Any:
        if len(rounded) == 3:
            raise KeyboardInterrupt
        rounded.append(unit.name)
        return round_unit(self, unit, *rest)

    monkeypatch.setattr(Reconstruction, "_round", stopping)
    done = emq("quantize", *arguments, str(tmp_path / "part"))
    assert done.status == 130 and "the same command goes on" in done.err
    assert [path.name for path in (tmp_path / "part").iterdir()] == ["unfinished.safetensors"]
    monkeypatch.setattr(
        Reconstruction, "_round", lambda *rest: (rounded.append(rest[1].name), round_unit(*rest))[1]
    )
    done = emq("quantize", *arguments, str(tmp_path / "part"), "--json")
    again = json.loads(done.out)
    assert "going on" in done.err
    assert again["after"] == whole["after"] and len(rounded) == len(set(rounded)), (
        "nothing is learned twice"
    )
    assert not (tmp_path / "part" / "unfinished.safetensors").exists()


@pytest.mark.parametrize("damage", ["flipped", "cut", "foreign"])
def test_damaged_unfinished_work_is_set_aside(
    emq: Emq, quick: Quick, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    from emqlang.quant.ptq.rounding import Reconstruction

    arguments = ("--config", "3", "--rounding", "adaround", "--iters", "5", *quick, "--out")
    out, done = tmp_path / "out", []
    round_unit = Reconstruction._round

    def stopping(self: Any, unit: Any, *rest: Any) -> Any:
        done.append(unit.name)
        if len(done) == 3:
            raise KeyboardInterrupt
        return round_unit(self, unit, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Reconstruction, "_round", stopping)
        assert emq("quantize", *arguments, str(out)).status == 130
    file = out / "unfinished.safetensors"
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes({"flipped": data, "cut": data[:-9], "foreign": b"nothing"}[damage])
    shown = emq("quantize", *arguments, str(out))
    assert shown.status == 0 and "unfinished" in shown.err
    assert emq("quantize", *arguments, str(tmp_path / "whole")).status == 0
    ours, theirs = (
        (folder / "model.safetensors").read_bytes() for folder in (out, tmp_path / "whole")
    )
    assert ours == theirs


def test_a_float_network_is_evaluated_too(emq: Emq) -> None:
    found = json.loads(emq("evaluate", "--json").out)
    assert (
        found["accuracy"] == pytest.approx(0.9319)
        and found["images"] == 10_000
        and found["agreement"] == 1
    )
    assert "93.19%" in emq("evaluate").out


def test_what_is_refused(emq: Emq, quick: Quick, tmp_path: Path) -> None:
    recipe, broken, own = tmp_path / "r.json", tmp_path / "b.json", tmp_path / "own.py"
    assert (
        emq(
            "assign", "numel", "--avg-bits", "3", "--model", "vgg-fmnist", "--out", str(recipe)
        ).status
        == 0
    )
    broken.write_text('{"schema": "something else"}')

    def code(*arguments: str, status: int = 3) -> str:
        return str(quantized(emq, *arguments, status=status)["errors"][0]["code"])

    other = ("--model", "resnet18-fmnist", "--recipe", str(recipe))
    assert code(*other, *quick) == "E311"
    assert code("--recipe", str(broken), *quick) == "E310"
    assert code("--recipe", str(tmp_path / "none.json"), *quick) == "E301"
    assert code("--config", "4", "--calib-images", "5000") == "E304"
    assert (
        code("--config", "4", "--calib-images", "8", "--no-check", "--data", f"{own}:broken")
        == "E304"
    )
    assert code("--config", "4,4", *quick, status=2) == "E402"
    assert emq("evaluate", str(tmp_path / "none.safetensors")).status == 3
    assert emq("quantize").status == emq("quantize", "numel", "--config", "4").status == 2


SINGLE = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 1)), torch.zeros(1, 16)

def data():
    yield torch.randn(128, 16, generator=torch.Generator().manual_seed(1))

def largest(outputs, batch):
    return float(outputs.abs().max())

def word(outputs, batch):
    return "high"

number = 3
"""


@pytest.fixture
def single(tmp_path: Path) -> tuple[str, ...]:
    """A network with one output, and data without labels."""
    (tmp_path / "single.py").write_text(SINGLE)
    file = str(tmp_path / "single.py")
    return "--model", f"{file}:build", "--data", f"{file}:data"


def test_one_output_never_agrees_by_100_percent(emq: Emq, single: tuple[str, ...]) -> None:
    """Two bits move the outputs by a sixth, and argmax and softmax of one number say nothing."""
    done = quantized(emq, "--config", "2", "--calib-images", "64", *single)
    after = done["after"]
    assert after["relative_error"] == pytest.approx(0.171, abs=0.001)
    assert after["sqnr"] == pytest.approx(15.34, abs=0.05)
    assert after["agreement"] is None and after["kl"] is None
    assert done["check"]["measure"] == "fidelity" and done["check"]["images"] == 128
    screen = emq("quantize", "--config", "2", "--calib-images", "64", *single).out
    assert "relative error" in screen and "15.3 dB" in screen and "agreement" not in screen
    assert "fidelity 99.43%, float 100.00% on 128 images: passed" in screen
    walked = emq(
        *("assign", "mean(abs(w))", "--max-drop", "1%", "--calib-images", "64", *single, "--json")
    )
    assert walked.status == 1 and json.loads(walked.out)["best"] is None, "2 to 4 bits lose more"
    float_only = emq("evaluate", *single).out
    assert "100" not in float_only.split("relative error")[1]


def test_a_metric_of_ones_own_is_shown_by_its_name(
    emq: Emq, single: tuple[str, ...], tmp_path: Path
) -> None:
    file = f"{tmp_path / 'single.py'}"
    quick = ("--config", "2", "--calib-images", "64", *single, "--metric")
    done = quantized(emq, *quick, f"{file}:largest", "--out", str(tmp_path / "q"))
    assert done["after"]["metric_name"] == "largest"
    assert done["before"]["metric"] != done["after"]["metric"]
    assert "largest" in emq("quantize", *quick, f"{file}:largest").out
    again = emq("evaluate", str(tmp_path / "q"), "--metric", f"{file}:largest", "--json")
    found = json.loads(again.out)
    assert {name: found[name] for name in done["after"]} == done["after"]
    for metric, status, message in (
        ("word", 3, "the metric 'word' failed: ValueError"),
        ("number", 2, "is of type int, not a function"),
        ("other", 3, "has no 'other'"),
    ):
        refused = emq("quantize", *quick, f"{file}:{metric}")
        assert refused.status == status and message in refused.err


def test_a_mixture_of_experts_is_quantized(emq: Emq, tmp_path: Path) -> None:
    file = str(Path(__file__).parents[1] / "support" / "kinds.py")
    words = "--config", "4", "--model", f"{file}:experts", "--data", f"{file}:routed_rows"
    done = quantized(emq, *words, "--calib-images", "64", "--out", str(tmp_path / "q"))
    ratios = {layer["name"]: layer["output_sqnr"] for layer in done["layers"]}
    assert {name for name, ratio in ratios.items() if ratio is None} == {
        f"experts.{i}" for i in range(4)
    }
    assert done["check"] is not None
    assert "not available" in emq("quantize", *words, "--calib-images", "64").out
    assert emq("evaluate", str(tmp_path / "q")).status == 0


def test_what_no_image_reached_is_said_wherever_the_checkpoint_is_used(
    emq: Emq, tmp_path: Path
) -> None:
    file, folder = str(Path(__file__).parents[1] / "support" / "kinds.py"), str(tmp_path / "q")
    words = "--model", f"{file}:experts", "--data", f"{file}:few_routed_rows"
    named = emq("quantize", "--config", "4", *words, "--calib-images", "1", "--out", folder)
    assert named.status == 0 and "and 1 more" not in named.err
    (warning,) = [line for line in named.err.splitlines() if "W615" in line]
    assert warning in emq("evaluate", folder, "--data", f"{file}:routed_rows").err
    assert (
        warning
        in emq(
            "export", folder, "--to", "safetensors", "--out", str(tmp_path / "w.safetensors")
        ).err
    )
    again = emq("quantize", "--recipe", f"{folder}/recipe.json", "--data", f"{file}:routed_rows",
                "--calib-images", "64", "--no-check", "--out", str(tmp_path / "whole"))  # fmt: skip
    assert again.status == 0 and "W615" not in again.err
    assert "W615" not in emq("evaluate", str(tmp_path / "whole")).err
