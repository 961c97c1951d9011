"""Without a proxy bits are chosen by the recommended one, which the output names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import Emq
from own_network import own
from plain import batches, network

import emqlang as emq_api
from emqlang.grammar.library import LIBRARY, RECOMMENDED, recommended

__all__ = ["own"]  # a fixture

OWN = ("--model", "my.py:build", "--data", "my.py:data", "--input", "1x28x28")


@pytest.mark.parametrize("kind", RECOMMENDED)
def test_what_is_recommended_is_fit_to_choose_by(kind: str) -> None:
    program = recommended(kind == "pairs")
    assert program.elaborated.axes == {"weights": 1, "pairs": 3}[kind]
    assert program.domain.images and program.domain.draws and not program.domain.tables


@pytest.mark.usefixtures("own")
def test_it_is_the_named_proxy_with_the_samples_of_its_entry(emq: Emq) -> None:
    name, words = RECOMMENDED["weights"], (*OWN, "--avg-bits", "3", "--json")
    plain, named = emq("assign", *words), emq("assign", name, *words)
    assert plain.status == named.status == 0
    assert f"bits are chosen by {name}" in plain.err and name not in named.err
    assert "256 images, 4 labels drawn for each" in plain.err
    found, same = json.loads(plain.out), json.loads(named.out)
    assert found["proxy"]["name"] == name
    assert [found[key] for key in ("proxy", "groups", "score")] == [
        same[key] for key in ("proxy", "groups", "score")
    ]
    fewer = emq("assign", *words, "--stat-images", "8", "--label-draws", "2")
    assert "8 images, 2 labels drawn for each" in fewer.err
    assert json.loads(fewer.out)["score"] != found["score"]
    own_labels = emq("assign", *words, "--loss", "label")
    assert "labels drawn" not in own_labels.err


@pytest.mark.usefixtures("own")
def test_a_menu_of_pairs_has_another(emq: Emq) -> None:
    words = (*OWN, "--menu", "W2A4,W4A4,W4A8", "--avg-bits", "3", "--stat-images", "8", "--json")
    done = emq("assign", *words)
    assert done.status == 0 and RECOMMENDED["pairs"] in done.err
    assert json.loads(done.out)["proxy"]["name"] == RECOMMENDED["pairs"]


@pytest.mark.usefixtures("own")
def test_quantize_too(emq: Emq) -> None:
    words = (*OWN, "--test", "my.py:test", "--calib-images", "64", "--stat-images", "8")
    done = emq("quantize", *words, "--avg-bits", "3", "--no-check", "--json")
    assert done.status == 0 and RECOMMENDED["weights"] in done.err
    assert emq("quantize", *words).status == 2  # no budget
    assert "there is no budget" in emq("quantize").err


def test_in_python() -> None:
    statistics = emq_api.collect(network(), batches())
    recipe = emq_api.assign(statistics, avg_bits=3)
    assert recipe == emq_api.assign(RECOMMENDED["weights"], statistics, avg_bits=3)
    assert recipe == emq_api.assign(statistics=statistics, avg_bits=3)
    assert recipe.proxy is not None
    key = LIBRARY[RECOMMENDED["weights"]].canonical.digest.hex()
    assert recipe.proxy.key == key
    few = emq_api.collect(network(), batches(), images=4, label_draws=1)
    assert emq_api.assign(few, avg_bits=3).solver != recipe.solver


def test_python_polishes() -> None:
    statistics = emq_api.collect(network(), batches())
    polished = emq_api.assign("depth", statistics, avg_bits=3, polish=4)
    assert polished.solver is not None and polished.solver.status in ("polished", "optimal")
    with pytest.raises(emq_api.EmqError, match="polish"):
        emq_api.assign("depth", statistics, avg_bits=3, polish=-1)
    with pytest.raises(emq_api.EmqError, match="no images"):
        emq_api.assign("depth", emq_api.collect(network()), avg_bits=3, polish=4)


def test_values_that_are_no_classes_do(
    emq: Emq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Draws are then of normal errors about what the network answers."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "line.py").write_text(LINE)
    words = ("--model", "line.py:build", "--data", "line.py:data", "--input", "1x4x4", "--json")
    done = emq("assign", *words, "--avg-bits", "3")
    assert done.status == 0, done.err
    assert json.loads(done.out)["proxy"]["name"] == RECOMMENDED["weights"]


LINE = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 1))

def data():
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        images = torch.randn(32, 1, 4, 4, generator=generator)
        yield images, images.sum((1, 2, 3)) / 4
"""
