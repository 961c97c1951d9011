"""Floating-point labels that name classes are not taken as values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

import emqlang
from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.networks.label_values import LabelValues
from tests.support.commands import Emq

GENERATOR = torch.Generator().manual_seed(0)
X, Y = torch.randn(48, 6, generator=GENERATOR), torch.arange(48) % 3
SMOOTHED = 0.9 * one_hot(Y, 3) + 0.1 / 3
MIXED = 0.3 * one_hot(Y, 3) + 0.7 * one_hot(Y.roll(1), 3)
NAMES_CLASSES = {
    "one-hot": one_hot(Y, 3).float(),
    "smoothed": SMOOTHED,
    "mixed": MIXED,
    "mixed, half": MIXED.half(),
    "softmax": torch.randn(48, 3, generator=GENERATOR).softmax(1),
    "several at once": (torch.rand(48, 3, generator=GENERATOR) > 0.5).float(),
    "maps": one_hot(Y, 3).float()[:, :, None, None].expand(48, 3, 2, 2),
    "tokens": one_hot(torch.arange(96).reshape(48, 2) % 3, 3).float(),
    "of one output": (Y > 0).float(),
    "of one output, a column": (Y > 0).double()[:, None],
}
VALUES = {
    "values": torch.rand(48, 3, generator=GENERATOR),
    "counts": torch.arange(48.0) % 3,
    "nothing but zeros": torch.zeros(48, 1),
    "coordinates, a corner among them": torch.cat([torch.rand(47, 2), torch.tensor([[0.0, 1.0]])]),
    "whole numbers": one_hot(Y, 3),
    "one value": torch.ones(1),
}


def judged(labels: Tensor) -> LabelValues:
    values = LabelValues()
    for part in labels.split(16):
        values.add(part)
    return values


@pytest.mark.parametrize("kind", NAMES_CLASSES)
def test_labels_that_name_classes(kind: str) -> None:
    problem = judged(NAMES_CLASSES[kind]).problem
    assert problem is not None and problem.diagnostics[0].code == "E304"
    assert "not values" in problem.diagnostics[0].message


@pytest.mark.parametrize("kind", VALUES)
def test_labels_that_are_values(kind: str) -> None:
    assert judged(VALUES[kind]).problem is None


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))


def batches(labels: Tensor) -> list[Any]:
    return list(zip(X.split(16), labels.split(16), strict=True))


def loss(outputs: Tensor, batch: Any) -> Tensor:
    return cross_entropy(outputs, batch[1])


def accuracy(outputs: Tensor, batch: Any) -> float:
    return float((outputs.argmax(1) == batch[1].argmax(1)).float().mean())


def test_every_reader_of_labels_refuses_them(tmp_path: Path) -> None:
    data = batches(SMOOTHED)
    for attempt in (
        lambda: emqlang.score("fisher_error", emqlang.collect(network(), data, images=8)),
        lambda: emqlang.evaluate(network(), data),
        lambda: emqlang.evaluate(network(), data, reference=network()),
        lambda: emqlang.qat(network(), tmp_path, data),
    ):
        with pytest.raises(EmqError, match="one-hot") as caught:
            attempt()
        assert caught.value.diagnostics[0].code == "E304"


def test_a_loss_and_a_metric_say_what_they_mean() -> None:
    data, hard = batches(one_hot(Y, 3).float()), batches(Y)
    given = emqlang.collect(network(), data, images=8, loss=loss)
    scores = emqlang.score("fisher_error", given).values
    plain = emqlang.score("fisher_error", emqlang.collect(network(), hard, images=8)).values
    assert scores == pytest.approx(plain, rel=1e-5)
    found = emqlang.evaluate(network(), data, accuracy)
    assert found.loss is None and found.metric == emqlang.evaluate(network(), hard).accuracy


FILE = """
import torch
from torch import nn
def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)), torch.zeros(1, 6)
def data():
    generator = torch.Generator().manual_seed(0)
    y = nn.functional.one_hot(torch.arange(64) % 3, 3).float()
    return [(torch.randn(64, 6, generator=generator), y)]
def loss(outputs, batch):
    return nn.functional.cross_entropy(outputs, batch[1])
"""


def test_the_command_line_says_so(emq: Emq, tmp_path: Path) -> None:
    (tmp_path / "f.py").write_text(FILE)
    named = ("--model", f"{tmp_path}/f.py:build", "--data", f"{tmp_path}/f.py:data")
    refused = emq("eval", "fisher_error", *named, "--config", "3")
    assert refused.status == 3 and "E304" in refused.err and "one-hot" in refused.err
    assert "--loss file.py:function" in refused.err
    taken = emq("eval", "fisher_error", *named, "--config", "3", "--loss", f"{tmp_path}/f.py:loss")
    assert taken.status == 0, taken.err
