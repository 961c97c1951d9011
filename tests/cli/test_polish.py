"""`assign --polish`: exchanges within the budget, judged by what is measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import Emq, record
from own_network import own

__all__ = ["own"]  # a fixture

FREE = "-sum(square(qerr))"
QUICK = ("--polish", "20", "--calib-images", "128")
ONE_LAYER = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 4))

def data():
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        yield torch.randn(32, 1, 4, 4, generator=generator)
"""


def assigned(emq: Emq, *arguments: str, status: int = 0) -> dict[str, Any]:
    return record(emq, "assign", *arguments, status=status)


def test_it_loses_less_within_the_same_budget(emq: Emq, tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    words = ("depth", "--avg-bits", "2.5")  # later layers are not more sensitive
    plain = assigned(emq, *words)
    found = assigned(emq, *words, *QUICK, "--out", str(path))
    polish = found["polish"]
    assert plain["polish"] is None and polish["images"] == 128 and polish["candidates"] == 20
    assert polish["measure"] == "cross entropy" and polish["after"] < polish["before"]
    assert polish["taken"] >= 1 and found["status"] == "polished" and found["gap"] is None
    assert found["achieved"]["avg-bits"] <= found["budgets"]["avg-bits"]
    assert found["score"] <= plain["score"]  # the proxy's best by the proxy is the other
    assert json.loads(path.read_text())["solver"]["method"] == "polish"
    assert assigned(emq, *words, *QUICK)["groups"] == found["groups"]
    shown = " ".join(emq("assign", *words, *QUICK).out.split())
    assert "cross entropy" in shown and "of 20 exchanges taken" in shown


def test_without_labels_the_divergence_from_float_is_measured(
    emq: Emq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(ONE_LAYER.replace("(16, 4))", "(16, 8), nn.Linear(8, 4))"))
    words = ("--model", "net.py:build", "--data", "net.py:data", "--input", "1x4x4")
    given = ("--avg-bits", "3", "--polish", "4", "--calib-images", "64")
    polish = assigned(emq, FREE, *words, *given)["polish"]
    assert polish["measure"] == "KL from float" and polish["after"] <= polish["before"]
    assert 1 <= polish["candidates"] <= 4


def test_one_layer_whose_budget_only_one_choice_meets(
    emq: Emq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(ONE_LAYER)
    words = ("--model", "net.py:build", "--input", "1x4x4")
    polish = ("--data", "net.py:data", "--polish", "4", "--calib-images", "64")
    assert assigned(emq, FREE, *words, "--avg-bits", "2")["groups"][0]["choice"] == "W2"
    found = assigned(emq, FREE, *words, "--avg-bits", "2", *polish, status=2)
    assert "nothing to polish" in found["errors"][0]["message"]
    found = assigned(emq, FREE, *words, "--avg-bits", "3", *polish)
    assert found["polish"]["candidates"] == 1


def test_images_that_tell_nothing_are_missed_before_a_statistic_is_taken(emq: Emq) -> None:
    words = ("fisher_qerr", "--model", "resnet18", "--weights", "random", "--avg-bits", "3")
    found = assigned(emq, *words, *QUICK, status=3)
    assert found["errors"][0]["code"] == "E303"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--sweep",), "--polish is not used"),
        (("--max-drop", "1%"), "--polish is not used"),
        (("--avg-bits", "3", "--polish", "0"), "0"),
    ],
)
def test_what_is_refused(emq: Emq, words: tuple[str, ...], said: str) -> None:
    done = emq("assign", FREE, "--polish", "4", *words)
    assert done.status == 2 and said in done.err
    assert emq("assign", FREE, "--polish", "4").status == 2  # no budget


def test_inputs_that_the_menu_chooses(emq: Emq) -> None:
    words = ("-(sum(square(qerr)) + act_qerr)", "--menu", "W2A4,W4A4,W4A8", "--bops", "0.2G")
    found = assigned(emq, *words, "--polish", "8", "--calib-images", "64")
    assert found["polish"]["after"] <= found["polish"]["before"]
    assert found["achieved"]["bops"] <= found["budgets"]["bops"]
