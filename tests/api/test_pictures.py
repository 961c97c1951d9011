"""Results as matplotlib figures: what has one, what it says, and what has none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import emqlang as emq
from emqlang.evolve.history import Programs


@pytest.fixture(scope="module")
def statistics() -> Any:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    batches = [(torch.rand(16, 1, 8, 8), torch.arange(16) % 3)]
    return emq.collect(net, batches, bits="2,4", images=16)


def said(figure: Any) -> set[str]:
    """All that is written in a figure, after it was drawn."""
    from matplotlib.text import Text

    figure.canvas.draw()
    return {text.get_text() for text in figure.findobj(Text)} - {""}


def test_scores_and_the_matrix_of_a_network_of_ones_own(statistics: Any) -> None:
    words = said(emq.plot(statistics, "-l2(qerr)", "fisher_whole"))
    assert {"-l2(qerr)", "W2", "W4", "loss of score", "score"} <= words
    words = said(emq.plot(statistics, kind="matrix"))
    assert "total(shift), W2" in words
    words = said(emq.plot(emq.score("-l2(qerr)", statistics)))
    assert "2 groups of layers" in words
    words = said(emq.plot(emq.score("fisher_whole", statistics)))
    assert "lost alone, all others at the most bits" in words
    recipe = emq.assign("-l2(qerr)", statistics, avg_bits=3)
    assert "weight bits" in said(emq.plot(recipe))


def test_tables_and_ranks(tmp_path: Path) -> None:
    table, out = emq.load_table("vgg-fmnist-all"), tmp_path / "table.png"
    words = said(table.plot("bit_sum", out=out))  # type: ignore[attr-defined]
    assert any(word.startswith("bit_sum: regret") for word in words)
    assert out.read_bytes().startswith(b"\x89PNG")
    words = said(emq.rank("bit_sum", "vgg-fmnist-all", draws=2).plot())  # type: ignore[attr-defined]
    assert "vgg-fmnist-all: 425 configurations" in words


def test_programs_are_graphs() -> None:
    assert {"sqrt", "w", "total"} & said(emq.plot("sqrt(abs(w))")) == {"sqrt", "w"}
    figure = emq.plot(emq.parse("square(total(shift))"))
    assert "total" in said(figure)
    assert figure._repr_png_().startswith(b"\x89PNG"), "what a notebook asks for"  # type: ignore[attr-defined]


def test_searches(tmp_path: Path) -> None:
    run = emq.search(
        tmp_path / "run", "vgg-fmnist-all", steps=2, images=16, inputs=("numel", "bits"), islands=1
    )
    for figure in (emq.plot(run), run.plot()):  # type: ignore[attr-defined]
        assert "programs evaluated" in said(figure)
    assert "all proposals" in said(emq.plot(run, kind="funnel"))
    front = emq.front(tmp_path / "run")
    assert {"fitness", "nodes"} <= said(front.plot())  # type: ignore[attr-defined]


REFUSED: dict[str, Callable[[Any], Any]] = {
    "a dict has no figure": lambda _: emq.plot({}),
    "kind is 'pie'": lambda statistics: emq.plot(statistics, "bits", kind="pie"),
    "takes no proxies": lambda _: emq.plot("bits", "numel"),
    "there is no proxy to draw": lambda statistics: emq.plot(statistics),
    "separates": lambda statistics: emq.plot(statistics, "bits", kind="matrix"),
    "is not a picture": lambda _: emq.plot("bits", out="a.pdf"),
    "the front has no points": lambda _: emq.plot(Programs("front", ())),
    "a matrix is of one proxy": lambda s: emq.plot(s, "fisher_whole", "bits", kind="matrix"),
    "cannot be written": lambda _: emq.plot("bits", out="/proc/a.svg"),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_has_no_figure(statistics: Any, message: str) -> None:
    with pytest.raises(emq.EmqError) as refused:
        REFUSED[message](statistics)
    assert message in str(refused.value)


def test_figures_leave_the_settings_of_matplotlib_alone(tmp_path: Path) -> None:
    code = """
import sys, matplotlib, emqlang as emq
before = dict(matplotlib.rcParams)
emq.plot("bits", out=sys.argv[1])
assert before == dict(matplotlib.rcParams)
"""
    subprocess.run([sys.executable, "-P", "-c", code, str(tmp_path / "a.svg")], check=True)
