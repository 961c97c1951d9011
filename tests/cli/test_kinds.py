"""`quantize` and `evaluate` of networks that classify no images, with their users' loaders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import Emq
from kinds import KINDS, Kind

FILE = str(Path(__file__).parents[1] / "support" / "kinds.py")
FIGURES = ("accuracy", "loss", "agreement", "kl", "relative_error")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.data.__name__)
def test_each_kind_is_quantized_and_evaluated(emq: Emq, kind: Kind, tmp_path: Path) -> None:
    words = ("--model", f"{FILE}:{kind.model.__name__}", "--data", f"{FILE}:{kind.data.__name__}")
    quick = ("--calib-images", "32", "--out", str(tmp_path / "q"), "--json")
    done = emq("quantize", "--config", "4", *words, *quick)
    assert done.status == 0, done.err
    found = json.loads(done.out)
    taken = {name for name in FIGURES if found["after"][name] is not None}
    assert taken == kind.figures and found["after"]["images"] == 64
    assert found["check"]["measure"] == kind.measure and found["check"]["passed"] is not False
    again = emq("evaluate", str(tmp_path / "q"), "--json")
    assert again.status == 0, again.err
    figures = json.loads(again.out)
    assert {name: figures[name] for name in found["after"]} == found["after"]


def test_numbers_as_labels_have_a_loss_and_a_metric(emq: Emq) -> None:
    words = ("--model", f"{FILE}:regression", "--data", f"{FILE}:measured")
    done = emq("evaluate", *words, "--metric", f"{FILE}:mean_distance")
    assert done.status == 0 and "loss (mean squared error)" in done.out
    assert "mean_distance" in done.out and "agreement" not in done.out
    assert "labels of 64 images, which are numbers" in done.err
