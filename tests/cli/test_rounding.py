"""Statistics under learned rounding, from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Emq
from torch import nn

import emqlang as emq_api
from emqlang.grammar.diagnostics import EmqError

SMALL = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3))

def data():
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(40, 12, generator=generator)
    yield images, torch.randint(0, 3, (40,), generator=generator)
"""


@pytest.fixture
def network(tmp_path: Path) -> tuple[str, ...]:
    file = tmp_path / "small.py"
    file.write_text(SMALL)
    return "--model", f"{file}:build", "--data", f"{file}:data"


LEARNED = ("--rounding", "adaround", "--iters", "200", "--calib-images", "40")
SHOWN = ("--label-draws", "2", "--stat-images", "8")


def test_scores_see_the_rounding(emq: Emq, network: tuple[str, ...]) -> None:
    done = emq("eval", "-sum(abs(qerr))", *network, *LEARNED, "--json")
    assert done.status == 0, done.err
    found = json.loads(done.out)
    assert "adaround rounding, 200 iterations on 40 images" in found["data"]
    nearest = json.loads(emq("eval", "-sum(abs(qerr))", *network, "--json").out)
    assert found["proxies"] != nearest["proxies"]
    joint = emq("eval", "fisher_cross", *network, *LEARNED, *SHOWN, "--json")
    assert joint.status == 0 and "adaround" in joint.out


def test_bits_by_learned_rounding(emq: Emq, network: tuple[str, ...]) -> None:
    done = emq(
        "assign", "-fisher_qerr", "--avg-bits", "3", *network, *LEARNED, "--stat-images", "8"
    )
    assert done.status == 0 and "adaround rounding" in done.out, done.err


def test_python_sees_the_same_rounding(emq: Emq, network: tuple[str, ...]) -> None:
    _, model, _, data = network
    learned = emq_api.collect(model, data, rounding="adaround", iterations=200, calib_images=40)
    scores = emq_api.score("-sum(abs(qerr))", learned).scores
    done = json.loads(emq("eval", "-sum(abs(qerr))", *network, *LEARNED, "--json").out)
    shown = [[*group["scores"].values()] for group in done["proxies"][0]["groups"]]
    assert scores.tolist() == shown
    assert (scores != emq_api.score("-sum(abs(qerr))", emq_api.collect(model, data)).scores).any()


def test_python_rounds_on_up_to_as_many_images_as_there_are() -> None:
    generator = torch.Generator().manual_seed(0)
    data = [torch.randn(8, 12, generator=generator) for _ in range(2)]
    net = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 3))
    learned = emq_api.collect(net, data, rounding="adaround", iterations=20)
    assert emq_api.score("-sum(square(qerr))", learned).scores.shape == (2, 3)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rounding": "brecq"}, "brecq rounds several"),
        ({"rounding": "up"}, "one of nearest, adaround"),
        ({"rounding": "adaround", "iterations": 0}, "iterations is 0"),
        ({"rounding": "adaround", "calib_images": 0}, "calib_images is 0"),
    ],
)
def test_what_python_refuses(given: dict[str, Any], said: str) -> None:
    with pytest.raises(EmqError) as refused:
        emq_api.collect(nn.Linear(12, 3), **given)
    (diagnostic,) = refused.value.diagnostics
    assert diagnostic.code == "E403" and said in f"{diagnostic.message} {diagnostic.help}"


def test_what_is_refused(emq: Emq, network: tuple[str, ...]) -> None:
    for words, said in (
        (("--rounding", "brecq"), "block together"),
        (("--iters", "5"), "--iters is not used with --rounding nearest"),
        (("--calib-images", "5"), "--calib-images is not used with --rounding nearest"),
        (("--rounding", "adaround"), "there are 40"),
    ):
        refused = emq("eval", "mean(qerr)", *network, *words)
        assert refused.status != 0 and said in refused.err, refused.err
    refused = emq("eval", "mean(abs(w))", *network[:2], "--input", "12", "--rounding", "adaround")
    assert "none of their statistics sees the errors of weights" in refused.err
