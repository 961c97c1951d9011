"""Results in a notebook: a piece of HTML of each, and a repr that fits a terminal."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import emqlang as emq
from emqlang.views import notebook, render
from emqlang.views.render import Column

VOID = {"br", "hr", "img", "meta"}


class Strict(HTMLParser):
    """Refuses elements that are closed in another order than they were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def text_of(html: str) -> str:
    parser = Strict()
    parser.feed(html)
    parser.close()
    assert not parser.open
    return parser.text


@pytest.fixture
def attached() -> Iterator[None]:
    notebook.attach()
    yield
    for kind in notebook.SCREENS:
        del kind._repr_html_


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    random = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
    batches = [
        (torch.rand(8, 1, 8, 8, generator=random), torch.randint(0, 5, (8,), generator=random))
        for _ in range(8)
    ]
    statistics = emq.collect(net, batches)
    recipe = emq.assign("fisher_form", statistics, avg_bits=3)
    quantized = emq.quantize(net, recipe, batches)
    run = tmp_path_factory.mktemp("runs") / "run"
    evolved = emq.search(run, steps=1, population=8, islands=1, images=16, inputs="w,bits")
    return {
        "conv": statistics,
        "W4": emq.score("fisher_form", statistics),
        "values for each": emq.score("fisher_length", statistics),
        "Sequential": recipe,
        "Quantized": quantized,
        "mean(abs(w))": emq.parse("mean(abs(w))"),
        "accuracy": emq.evaluate(quantized, batches),
        "bit_sum": emq.rank("synflow", draws=10, images=16),
        "400 rows": emq.load_table("vgg-fmnist-edge"),
        "evaluated": evolved,
        "fitness": emq.front(run),
    }


def test_every_result_has_html_that_is_whole(attached: None, results: dict[str, Any]) -> None:
    assert {type(value) for value in results.values()} == set(notebook.SCREENS)
    for value in results.values():
        shown = text_of(value._repr_html_())
        assert len(shown) > 300
    assert "synflow" in text_of(results["bit_sum"]._repr_html_())
    assert "mean(abs(w))" in text_of(results["mean(abs(w))"]._repr_html_())


def test_reprs_fit_a_terminal(results: dict[str, Any]) -> None:
    for value in results.values():
        lines = repr(value).splitlines()
        assert len(lines) <= 24 and all(len(line) <= 200 for line in lines)
    assert repr(results["Sequential"]) == "Recipe(Sequential: 2 layers, 2 of 3 bits)"
    assert repr(results["400 rows"]).startswith("Table(vgg-fmnist-edge: 400 rows of 9 groups")


def test_what_a_user_wrote_is_escaped() -> None:
    def show() -> None:
        render.heading("<b>", "a & b")
        render.fields([("name", "<script>"), ("empty", "")])
        render.table([Column("<i>", folds=True)], [["<script>"], [("x", "<u>")]])
        render.text("<pre>")
        render.note("<p>")

    html = render.html(show)
    assert "<script>" not in html and "<u>" not in html and "<i>" not in html
    assert text_of(html).count("<script>") == 2 and "empty" not in html


def test_a_screen_that_goes_onto_a_page_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert "words" in render.html(lambda: render.text("words"))
    assert capsys.readouterr() == ("", "")
    render.text("words")
    assert capsys.readouterr().out == "words\n"


def test_elsewhere_nothing_is_imported_for_it() -> None:
    code = "import emqlang.api, sys; assert 'emqlang.views.notebook' not in sys.modules"
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


def test_the_shipped_tables_and_a_ranking() -> None:
    assert Path(emq.tables()["vgg-fmnist-edge"]).is_file()
    found = emq.rank(["synflow", "fisher_form"], draws=20, images=16, split="heldout")
    (ranking,) = found.rankings
    rho = {one.name: one.rho[-1] for one in ranking.standings}
    assert rho["fisher_form"] > rho["synflow"] > rho["neg_log_numel"]
    for wrong in ({"split": "none"}, {"by": "size"}, {"against": "nothing"}, {"images": 0}):
        with pytest.raises(emq.EmqError):
            emq.rank("synflow", **wrong)
    with pytest.raises(emq.EmqError, match="no benchmark table"):
        emq.rank("synflow", tables="nothing")


def test_a_search_goes_where_it_is_told(tmp_path: Path) -> None:
    small = {"population": 8, "islands": 1, "inputs": ("w", "bits"), "images": 16}
    first = emq.search(tmp_path / "a", steps=2, **small)
    assert first.front.entries and (tmp_path / "a" / "run.sqlite").is_file()
    again = emq.search(tmp_path / "b", steps=2, **small)
    assert [e.text for e in again.front.entries] == [e.text for e in first.front.entries]
    assert [e.text for e in emq.front(tmp_path / "a").entries] == [
        e.text for e in emq.front(first).entries
    ]
    with pytest.raises(emq.EmqError, match="there is no setting 'pop'"):
        emq.search(tmp_path / "c", pop=8)
    with pytest.raises(emq.EmqError, match="holds a run"):
        emq.search(tmp_path / "a", steps=1, **small)
