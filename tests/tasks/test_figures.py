"""Figures of scores, tables and runs, as the command line draws them: their texts, and refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import Emq
from pictures import size, texts

NETWORK = """
import torch
from torch import nn


def one():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
    net.input_shape = (1, 4, 4)
    return net


class Deep(nn.Module):
    def __init__(self):
        super().__init__()
        name = "attention_output_projection_$_"
        rows = (nn.ModuleDict({name: nn.Linear(8, 8)}) for _ in range(60))
        self.language_model = nn.ModuleDict({"decoder": nn.ModuleList(rows)})

    def forward(self, x):
        x = x.flatten(1)
        for row in self.language_model["decoder"]:
            x = x + row["attention_output_projection_$_"](x)
        return x


def deep():
    torch.manual_seed(0)
    net = Deep()
    net.input_shape = (1, 2, 4)
    return net
"""


@pytest.fixture
def networks(tmp_path: Path) -> str:
    path = tmp_path / "networks.py"
    path.write_text(NETWORK)
    return str(path)


def test_scores_of_each_layer_and_choice(emq: Emq, tmp_path: Path) -> None:
    out = tmp_path / "a" / "scores.svg"
    done = emq("plot", "scores", "bit_sum", "l2(w) * bits", "--out", str(out))
    assert done.status == 0 and f"wrote {out}" in done.err, done.err
    said = texts(out)
    assert {"bit_sum", "l2(w) * bits", "W2", "W3", "W4", "score", "conv1", "fc"} <= {*said}
    assert "layer2.0.conv2 +1" in said, "a group of two layers"
    assert said.count("conv1") == 1, "layers are named below the last panel alone"
    assert "loss of score" not in said


def test_what_a_layer_loses_alone_and_in_company(emq: Emq, tmp_path: Path) -> None:
    out = tmp_path / "scores.svg"
    words = ("-square(total(l2(qerr)))", "--bits", "2,8")
    assert emq("plot", "scores", *words, "--out", str(out)).status == 0
    said = texts(out)
    assert [text for text in said if "lost" in text] == [
        f"{words[0]}: lost alone, all others at the most bits",
        f"{words[0]}: lost in company, all others at the fewest bits",
    ]
    assert "W8" in said and "score" not in said


def test_networks_of_one_layer_and_of_many(emq: Emq, networks: str, tmp_path: Path) -> None:
    one, many = tmp_path / "one.svg", tmp_path / "many.png"
    words = ("plot", "scores", "-l2(qerr)", "--model")
    assert emq(*words, f"{networks}:one", "--out", str(one)).status == 0
    assert any("1 group of layers" in text for text in texts(one))
    assert emq(*words, f"{networks}:deep", "--out", str(many)).status == 0
    assert size(many)[0] > 1500
    again = many.with_suffix(".svg")
    assert emq(*words, f"{networks}:deep", "--out", str(again)).status == 0
    names = [text for text in texts(again) if "attention" in text]
    assert names[0] == "0.attention_output_projection_$_" and len({*names}) == 60


@pytest.mark.parametrize(
    ("words", "code", "place"),
    [
        (("scores",), "give an EXPR", "a.svg"),
        (("scores", "no_proxy"), "E102", "a.svg"),
        (("scores", "bits", "--model", "no-such"), "E305", "a.svg"),
        (("scores", "exp(800 * bits)"), "E501", "a.svg"),
        (("scores", "bits", "--loss", "self"), "E403", "a.svg"),
        (("scores", "bits"), "E403", "a.pdf"),
        (("scores", "bits"), "E403", "a"),
        (("scores", "bits"), "E301", "."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
def test_what_cannot_be_drawn(
    emq: Emq, tmp_path: Path, words: tuple[str, ...], code: str, place: str
) -> None:
    done = emq("plot", *words, "--out", str(tmp_path / place))
    assert done.status and code in done.err and "Traceback" not in done.err, done.err
    assert not list(tmp_path.glob("a*"))
