"""Errors and warnings of the Python API speak of its keywords, not of options."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import emqlang as emq
from emqlang.api.words import KEYWORDS, translated
from emqlang.grammar.diagnostics import Diagnostic


@pytest.mark.parametrize(
    ("option", "keyword"),
    [
        ("--loss file.py:function", "loss=function"),
        ("--loss self", "loss='self'"),
        ("say so: --forward file.py:function", "say so: forward=function"),
        (
            "give images with --data, or --data noise:64",
            "give images with data, or data='noise:64'",
        ),
        ("--rounding nearest leaves them", "rounding='nearest' leaves them"),
        ("leave --fisher out", "leave fisher out"),
        ("--avg-bits 3.", "avg_bits=3."),
        ("write --fix 'conv1=8,layer4.*=4'", "write fix='conv1=8,layer4.*=4'"),
        ("--hold-unmeasured gives them", "hold_unmeasured=True gives them"),
        ("--stat-images, --label-draws", "images, label_draws"),
        ("--workers 2", "--workers 2"),
        ("--columns name=tensor,loss=kld", "columns='name=tensor,loss=kld'"),
        ("--latency-table FILE.csv: layer,choice", "latency_table='FILE.csv': layer,choice"),
    ],
)
def test_an_option_becomes_a_keyword(option: str, keyword: str) -> None:
    said = translated(Diagnostic("E403", option, help=(option,)))
    assert (said.message, said.help) == (keyword, (keyword,))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))


X, Y = torch.randn(32, 6, generator=torch.Generator().manual_seed(0)), torch.arange(32) % 3


def statistics() -> Any:
    return emq.collect(network(), [(X, Y)], images=8)


MISTAKES: dict[str, Callable[[Path], Any]] = {
    "no labels": lambda tmp: emq.score("fisher_error", emq.collect(network(), [X], images=8)),
    "labels of another shape": lambda tmp: emq.evaluate(network(), [(X, Y.reshape(4, 8)[:, :2])]),
    "labels that are one-hot": lambda tmp: emq.evaluate(network(), [(X, torch.eye(3)[Y])]),
    "a budget of nothing": lambda tmp: emq.assign("fisher_error", statistics(), avg_bits="x"),
    "a budget too small": lambda tmp: emq.assign("fisher_error", statistics(), avg_bits=1),
    "no table": lambda tmp: emq.assign("fisher_error", statistics(), latency=3),
    "fixed to nothing": lambda tmp: emq.assign("fisher_error", statistics(), size=99, fix="8"),
    "nothing to learn from": lambda tmp: emq.qat(network(), tmp, [X]),
    "fed in another way": lambda tmp: emq.collect(network(), [{"a": X, "b": X}]),
    "weights of nobody": lambda tmp: emq.load("tests.api.test_words:network", "pretrained"),
    "columns of nothing": lambda tmp: emq.assign_scores([{"a": 1}], size=9, columns="b"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_no_error_names_an_option(mistake: str, tmp_path: Path) -> None:
    with pytest.raises(emq.EmqError) as caught:
        MISTAKES[mistake](tmp_path)
    assert caught.value.diagnostics
    for each in caught.value.diagnostics:
        assert each.help or each.code == "E402"
        said = " ".join((each.message, *each.help))
        assert not re.search(r"--[a-z]", said) and "file.py:function" not in said


def test_every_keyword_is_one() -> None:
    """A keyword that no function has is a typing mistake here."""
    from emqlang import api
    from emqlang.api import bits, measured, networks

    functions = [api.collect, api.quantize, api.qat, api.evaluate, bits.assign, networks.load]
    known = {"fisher", "iterations"}  # settings of quantize
    for function in (*functions, measured.assign_scores):
        known |= function.__wrapped__.__annotations__.keys()  # type: ignore[attr-defined]
    assert {keyword.split("=")[0] for keyword in KEYWORDS.values()} <= known
