"""Networks of the user's own: the shape of their images, their warnings, and their checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Emq
from own_network import own

from emqlang.quant.ptq import evaluate

__all__ = ["own"]  # a fixture

BUILD = ("--model", "my.py:build")
QUICK = ("--calib-images", "64", "--no-check")


def code(emq: Emq, *arguments: str) -> str:
    """The code of the error that a command ends with."""
    found: dict[str, Any] = json.loads(emq(*arguments, "--json").out)
    return str(found["errors"][0]["code"])


@pytest.mark.parametrize(
    "told",
    [
        ("eval", "mean(abs(w))", "--input", "1x28x28"),
        ("eval", "mean(fisher)", "--input", "1x28x28", "--data", "noise:8"),
        ("eval", "mean(abs(w))", "--data", "my.py:data"),
        ("evaluate", "--test", "my.py:test"),
        ("assign", "numel", "--avg-bits", "3", "--input", "1x28x28"),
        ("quantize", "--config", "4", "--data", "noise:64", "--input", "1x28x28", *QUICK),
    ],
    ids=lambda words: " ".join(words),
)
def test_the_shape_is_told_by_an_option_or_by_the_data(
    emq: Emq, own: Path, told: tuple[str, ...]
) -> None:
    done = emq(*told, *BUILD)
    assert done.status == 0, done.err


def test_a_shape_that_nothing_tells_is_said_to_be_guessed(emq: Emq, own: Path) -> None:
    done = emq("eval", "mean(abs(w))", *BUILD)
    assert done.status == 3
    assert "it was given 3x224x224: say --input 1x28x28, or give --data or --test" in done.err
    told = emq("eval", "mean(abs(w))", *BUILD, "--input", "3x28x28")
    assert told.status == 3 and "3x224x224" not in told.err


@pytest.mark.parametrize("shape", ["x", "1x", "0x2", "1x-2", "a", "1x99999999999", "9999x99999x9"])
def test_what_is_no_shape(emq: Emq, own: Path, shape: str) -> None:
    assert code(emq, "eval", "mean(abs(w))", *BUILD, "--input", shape) == "E403"


@pytest.mark.parametrize("model", ["resnet18-fmnist", "my.py:with_example"])
def test_a_network_that_tells_its_shape_is_told_none(emq: Emq, own: Path, model: str) -> None:
    assert code(emq, "eval", "mean(abs(w))", "--model", model, "--input", "1x28x28") == "E403"


@pytest.mark.parametrize("way", ["config", "recipe", "evaluate", "checkpoint", "assign"])
def test_every_command_says_what_stays_in_float(emq: Emq, own: Path, way: str) -> None:
    partly = ("--model", "my.py:partly", "--data", "my.py:data")
    emq("assign", "numel", "--avg-bits", "3", *partly, "--out", "recipe.json")
    quantize = ("quantize", "--recipe", "recipe.json", *partly, *QUICK)
    commands = {
        "config": ("quantize", "--config", "4", *partly, *QUICK),
        "recipe": quantize,
        "evaluate": ("evaluate", *partly),
        "checkpoint": ("evaluate", "made"),
        "assign": ("assign", "--config", "4", *partly),
    }
    if way == "checkpoint":
        emq(*quantize, "--out", "made")
    done = emq(*commands[way])
    assert done.status == 0 and done.err.count("W605") == 1, done.err


def test_a_checkpoint_is_found_by_its_recipe(emq: Emq, own: Path) -> None:
    weights = own / "w.pth"
    emq("eval", "numel", *BUILD, "--input", "1x28x28")
    torch.manual_seed(1)
    from emqlang.quant.user_code import load_object

    torch.save({k: v + 0.01 for k, v in load_object("my.py:build")().state_dict().items()}, weights)
    made = ("--weights", str(weights), "--data", "my.py:data")
    done = emq("quantize", "--config", "4", *BUILD, *made, *QUICK, "--out", "made", "--json")
    after = json.loads(done.out)["after"]
    for path in ("made", "made/model.safetensors"):
        found = json.loads(emq("evaluate", path, "--json").out)
        assert {name: found[name] for name in after} == after
    other = json.loads(emq("evaluate", "made", "--test", "my.py:test", "--json").out)
    assert other["images"] == 100


def test_a_checkpoint_is_refused_before_any_image_is_read(
    emq: Emq, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    emq("quantize", "--config", "4", *BUILD, "--data", "my.py:data", *QUICK, "--out", "made")

    def forward(*_: object, **__: object) -> None:
        raise AssertionError("images went through the network")

    monkeypatch.setattr(evaluate, "predict", forward)
    (own / "weights.pth").write_bytes(b"no checkpoint at all, but more than eight bytes")
    test = ("--test", "my.py:test")
    assert code(emq, "evaluate", "nosuch", *test) == "E301"
    assert code(emq, "evaluate", "weights.pth", *test) == "E301"
    assert "no checkpoint of `emqlang quantize`" in emq("evaluate", "weights.pth").err
    assert code(emq, "evaluate", "made", "--model", "my.py:partly", *test) == "E311"


@pytest.mark.parametrize("way", [("--sweep",), ("--max-drop", "1%"), ()])
def test_an_impossible_budget_is_refused_before_any_statistic(
    emq: Emq, own: Path, way: tuple[str, ...]
) -> None:
    told = (*BUILD, "--input", "1x28x28", "--data", "my.py:read")
    budget = ("--avg-bits", "1.9")
    assert code(emq, "assign", "hawq_v2", *budget, *told, *way) == "E405"
    if not way:
        assert code(emq, "quantize", "hawq_v2", *budget, *told) == "E405"
        both = ("--avg-bits", "3", "--size", "1B")
        assert code(emq, "assign", "hawq_v2", *both, *told) == "E405"


def test_a_score_that_overflows_is_one_record(emq: Emq) -> None:
    done = emq("eval", "exp(exp(numel))", "--json")
    assert done.status == 4 and done.err.count("E501") == 1 and "more layers" in done.err
    (proxy,) = json.loads(done.out)["proxies"]
    assert len(proxy["problems"]) > 10


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("assign", "numel", "--avg-bits", "3", "--fix", "conv9=8"), "did you mean 'conv1'?"),
        (("assign", "numel", "--avg-bits", "3", "--fix", "zzz=8"), "its layers are conv1"),
        (("assign", "numel", "--avg-bits", "3", "--fix", "conv1=20"), "2 to 8"),
        (("assign", "--config", "20"), "2 to 8"),
        (("assign", "numel"), "--sweep"),
    ],
)
def test_a_mistake_says_what_would_be_right(
    emq: Emq, arguments: tuple[str, ...], said: str
) -> None:
    done = emq(*arguments)
    assert done.status == 2 and said in done.err
    assert "--sweep" not in emq("quantize", "numel").err


def test_assign_says_the_average_as_well(emq: Emq) -> None:
    found = json.loads(emq("assign", "numel", "--avg-bits", "3", "--json").out)
    assert 2 < found["avg_bits"] <= 3 < found["achieved"]["avg-bits"]


def test_the_repl_loads_networks_of_ones_own(emq: Emq, own: Path) -> None:
    """With weights, data and the shape of an image, in any order."""
    from emqlang.quant.user_code import load_object

    torch.save(load_object("my.py:build")().state_dict(), own / "w.pth")
    for words in ("w.pth 1x28x28", "1x28x28 w.pth", "w.pth my.py:data", "1x28x28"):
        done = emq("repl", stdin=f":model my.py:build {words}\nmean(abs(w))\n")
        assert done.status == 0 and "my.py:build" in done.out, done.err
    done = emq("repl", stdin=":model my.py:build w.pth\n")
    assert done.status == 3 and "--input 1x28x28" in done.err
    assert emq("repl", stdin=":model a b c d\n").status == 2
