"""`emqlang qat`: a recipe or a checkpoint is trained, goes on after a kill, or is refused."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from background import run_until
from commands import Emq, record

import emqlang as emq_api

OWN = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Conv2d(4, 8, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(128, 3),
    )

def batches(count, seed):
    drawn = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 1, 8, 8, generator=drawn)
    return [(images, (images[:, 0, :4].mean((1, 2)) > 0).long() + (images[:, 0, 0, 0] > 1).long())]

def train():
    return batches(300, 0)

def test():
    return batches(100, 1)

def shuffled():
    ((images, labels),) = train()
    order = torch.randperm(len(images))
    return [(images[order], labels[order])]

def unlabelled():
    return [batch[0] for batch in train()]

def other():
    torch.manual_seed(1)
    net = build()
    nn.init.normal_(net[6].weight)
    return net

def hinge(outputs, batch):
    return (1 - outputs[torch.arange(len(outputs)), batch[1]]).relu()
"""
MODEL = ("--model", "my.py:build", "--input", "1x8x8", "--data", "my.py:train")
FEW = ("--calib-images", "64", "--no-check", "--test", "my.py:test")
QUICK = ("--batch-size", "32", "--lr", "0.02", "--test", "my.py:test")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, emq: Emq) -> Path:
    """A folder with a network, its recipe r.json, and that quantized in q."""
    (tmp_path / "my.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    assert emq("assign", "numel", "--avg-bits", "3", *MODEL, "--out", "r.json").status == 0
    assert emq("quantize", "--recipe", "r.json", *FEW, "--out", "q").status == 0
    return tmp_path


def trained(emq: Emq, *words: str) -> dict[str, Any]:
    return record(emq, "qat", *words)


def code(emq: Emq, *words: str) -> str:
    done = emq("qat", *words, "--json")
    assert done.status in (1, 2, 3) and "Traceback" not in done.err, done.err
    return str(json.loads(done.out)["errors"][0]["code"])


def test_a_checkpoint_is_trained_tested_and_trained_again(emq: Emq, own: Path) -> None:
    done = trained(emq, "q", *QUICK, "--epochs", "3", "--out", "t")
    assert done["schema"] == "emqlang.qat/1" and done["test"] == "all images of my.py:test"
    assert done["training"]["images"] == 270 and done["training"]["validation"] == 30
    before = json.loads(emq("evaluate", "q", "--test", "my.py:test", "--json").out)
    after = json.loads(emq("evaluate", "t", "--test", "my.py:test", "--json").out)
    assert {name: before[name] for name in done["before"]} == done["before"]
    assert {name: after[name] for name in done["after"]} == done["after"]
    assert done["losses"][-1] < done["losses"][0]
    again = trained(emq, "t", *QUICK, "--epochs", "1", "--out", "tt")
    assert again["before"] == done["after"]
    recipe = emq_api.load_recipe("tt/recipe.json")
    assert [each.epochs for each in recipe.training] == [3, 1]  # type: ignore[union-attr]
    assert recipe.bits == emq_api.load_recipe("r.json").bits
    assert emq("quantize", "--recipe", "tt/recipe.json", *FEW, "--out", "plain").status == 0
    assert "training" not in json.loads(Path("plain/recipe.json").read_text())
    written = emq("export", "tt", "--to", "safetensors", "-o", "out.safetensors")
    assert written.status == 0, written.err


def test_a_recipe_is_rounded_to_the_nearest_and_trained(emq: Emq, own: Path) -> None:
    words = (*QUICK, "--epochs", "1", "--calib-images", "64")
    assert trained(emq, "r.json", *words)["after"] == trained(emq, "q", *words[:-2])["after"]


def test_the_screen_shows_before_and_after(emq: Emq, own: Path) -> None:
    done = emq("qat", "q", *QUICK, "--epochs", "2", "--bn", "train", "--distill", "0.5")
    shown = " ".join(done.out.split())
    assert done.status == 0 and "float quantized trained" in shown and "kept" in shown
    assert "270 images" in shown and "30 others of them" in shown and "batch norms trained" in shown
    assert "moved the outputs by" in shown and "distillation 0.5 at temperature 4" in shown


def test_without_test_images_the_validation_images_are_named(emq: Emq, own: Path) -> None:
    done = trained(emq, "q", "--epochs", "1")
    assert done["after"]["images"] == 30 and "for want of --test" in done["test"]


def test_killed_at_random_it_ends_with_the_same_checkpoint(
    emq: Emq, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("qat", "q", *QUICK, "--epochs", "12")
    began = time.perf_counter()
    assert emq(*words, "--out", "whole").status == 0
    seconds, draw = time.perf_counter() - began, random.Random(0)
    unfinished = own / "t" / "unfinished.safetensors"
    for _ in range(3):
        run_until(unfinished.exists, (*words, "--out", "t"), delay=draw.random() * seconds / 3)
    done = emq(*words, "--out", "t")
    assert done.status == 0 or "E317" in done.err, done.err
    for name in ("model.safetensors", "recipe.json"):
        assert (own / "t" / name).read_bytes() == (own / "whole" / name).read_bytes()
    assert not unfinished.exists()


def test_an_interruption_says_how_to_go_on(
    emq: Emq, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emqlang.quant.qat.trainer import Trainer

    step, left = Trainer._step, 12

    def stopping(self: Trainer, *rest: Any) -> float:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return step(self, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", stopping)
        done = emq("qat", "q", *QUICK, "--out", "t")
        again = emq("qat", "q", *QUICK, "--out", "none")
    assert again.status == 130 and "nothing is kept" in again.err and not Path("none").exists()
    assert done.status == 130 and "what was learned is kept in t" in done.err
    done = emq("qat", "q", *QUICK, "--out", "t")
    assert done.status == 0 and "1 of 2 epochs are done: going on from t" in done.err


def test_the_papers_preset(emq: Emq, own: Path) -> None:
    done = emq("qat", "q", "--preset", "paper", "--json")
    (found,) = json.loads(done.out)["errors"]
    assert done.status == 2 and found["code"] == "E403" and "preset 'paper'" in found["message"]
    few = ("--calib-images", "64", "--no-check", "--out", "p")
    assert emq("quantize", "--config", "8,4,8", *MODEL, *few).status == 0
    settings = trained(emq, "p", "--preset", "paper", "--epochs", "2")["training"]
    assert (settings["rate"], settings["batch"], settings["epochs"]) == (4e-4, 512, 2)


def test_what_is_refused(emq: Emq, own: Path) -> None:
    assert code(emq, "q", *QUICK, "--data", "my.py:unlabelled") == "E303"
    assert code(emq, "q", *QUICK, "--lr", "1e3", "--epochs", "20") == "E320"
    assert code(emq, "r.json", *QUICK, "--model", "my.py:other") == "E311"
    assert code(emq, "q", *QUICK, "--model", "my.py:other") == "E311"
    assert code(emq, "none.json", *QUICK) == code(emq, "none", *QUICK) == "E301"
    assert code(emq, "q", *QUICK, "--loss", "label") == "E403"
    assert code(emq, "q", *QUICK, "--lr", "0") == "E403"
    assert code(emq, "q", *QUICK, "--distill", "2") == "E403"
    assert code(emq, "q", *QUICK, "--train-images", "1") == "E304"
    assert code(emq, "q", *QUICK, "--train-images", "301") == "E304"
    assert code(emq, "q", *QUICK, "--out", "q") == "E317"
    assert code(emq, "q", *QUICK, "--out", "/proc/t") == "E301"
    if not torch.cuda.is_available():
        assert code(emq, "q", *QUICK, "--device", "cuda") == "E403"


def test_labels_are_not_needed_for_the_float_networks_answers(emq: Emq, own: Path) -> None:
    unlabelled = ("--data", "my.py:unlabelled", "--distill", "1", "--epochs", "1")
    done = trained(emq, "q", *QUICK, *unlabelled)
    assert done["validation"][0]["accuracy"] is None and done["after"]["accuracy"] is not None


def test_a_loader_may_shuffle(emq: Emq, own: Path) -> None:
    words = (*QUICK, "--data", "my.py:shuffled", "--epochs", "1", "--out", "t")
    assert trained(emq, "q", *words)["training"]["images"] == 270


def test_a_loss_of_ones_own(emq: Emq, own: Path) -> None:
    done = trained(emq, "q", *QUICK, "--loss", "my.py:hinge", "--epochs", "3")
    assert done["losses"][-1] < done["losses"][0]


def test_the_python_interface(emq: Emq, own: Path) -> None:
    done = trained(emq, "q", *QUICK, "--epochs", "2")
    settings = {"epochs": 2, "lr": 0.02, "batch_size": 32}
    quantized = emq_api.qat("my.py:build", "q", "my.py:train", **settings, out="api")  # type: ignore[arg-type]
    again = json.loads(emq("evaluate", "api", "--test", "my.py:test", "--json").out)
    assert again["accuracy"] == done["after"]["accuracy"] and again["loss"] == done["after"]["loss"]
    assert quantized.recipe.training[0].epochs == 2  # type: ignore[union-attr,index]
    for wrong in ({"epochs": 0}, {"lr": "fast"}, {"preset": "papr"}, {"loss": 3}, {"bn": "melt"}):
        with pytest.raises(emq_api.EmqError, match="E403"):
            emq_api.qat("my.py:build", "q", "my.py:train", **wrong)  # type: ignore[arg-type]
