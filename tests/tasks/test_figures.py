"""Figures of scores, tables and runs, as the command line draws them: their texts, and refusals."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import Emq, record
from pictures import size, texts
from small_table import options

from emqlang.cli import run
from emqlang.evolve.history import curve, top
from emqlang.evolve.ledger import Ledger
from emqlang.evolve.reasons import BEFORE, MEANINGS, Reason
from emqlang.evolve.settings import EvaluationOptions, SearchSettings
from emqlang.grammar.diagnostics import EXIT_NOT_FINITE
from emqlang.grammar.expr import postorder
from emqlang.grammar.library import LIBRARY
from emqlang.quant.tables.table import load
from emqlang.tasks.evolve import begin
from emqlang.tasks.plot import front_of, met, pareto, uniform_rows
from emqlang.tasks.workers import Workers
from emqlang.views.figures import pareto as pareto_figure
from emqlang.views.figures.layout import layered

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


def test_what_proxies_prefer_at_each_size(emq: Emq, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "pareto.svg"
    words = ("plot", "pareto", "early_first", "-l2(qerr)", "--table", str(table))
    assert emq(*words, "--out", str(out)).status == 0
    said = texts(out)
    ranked = record(emq, "rank", "early_first", "-l2(qerr)", "--table", str(table))
    (of_table,) = ranked["tables"]
    for name in ("early_first", "-l2(qerr)"):
        (one,) = (one for one in of_table["proxies"] if name in (one["name"], one["text"]))
        assert f"{name}: regret {one['regret']:.2f}" in said
    assert {"rows of the table", "the best of each size", "size, MiB"} <= {*said}


def test_a_front_is_what_no_row_beats() -> None:
    """Of the shipped table, against the definition."""
    table = load("resnet18-fmnist-all")
    rows = {*front_of(table).tolist()}
    for row in range(len(table)):
        no_larger = table.accuracy[table.size <= table.size[row]]
        smaller = table.accuracy[table.size < table.size[row]]
        best = table.accuracy[row] == no_larger.max() > smaller.max(initial=-1)
        assert (row in rows) == best, row


def test_uniform_rows_are_found_and_marked(table: Path) -> None:
    whole = load(str(table))
    some = whole.take(np.arange(3))
    choices = np.array([[0, 0, 0, 0], [1, 1, 1, 1], [1, 0, 1, 1]])
    assert uniform_rows(replace(some, choices=choices)) == {"W2": 0, "W3": 1}
    assert uniform_rows(some.take(np.array([0]))) == {}
    figure = pareto_figure.draw(pareto(replace(some, choices=choices)))
    notes = [text.get_text() for text in figure.axes[0].texts]
    assert notes == ["W2", "W3"]


def test_a_table_of_one_row(emq: Emq, tmp_path: Path) -> None:
    one, out = str(tmp_path / "one.table"), tmp_path / "one.svg"
    assert emq("bench", "build", "--out", one, *options(tmp_path, 1)).status == 0
    assert emq("plot", "pareto", "--table", one, "--out", str(out)).status == 0
    assert "one: 1 configuration" in texts(out)
    done = emq("plot", "pareto", "bit_sum", "--table", one, "--out", str(tmp_path / "no.svg"))
    assert done.status and "E406" in done.err


def test_fronts_that_were_printed(emq: Emq, tmp_path: Path) -> None:
    out, paths = tmp_path / "front.svg", []
    for over in ("size", "bops", "avg-bits"):
        printed = emq("assign", "bit_sum", "--sweep", "--over", over, "--json").out
        paths.append(tmp_path / f"{over}.json")
        paths[-1].write_text(printed)
    assert emq("plot", "pareto", *map(str, paths), "--out", str(out)).status == 0
    said = texts(out)
    assert {"size, MiB", "bops, G", "bits of all weights", "score", "uniform bits"} <= {*said}
    points = len(json.loads(paths[0].read_text())["points"])
    assert f"bit_sum: {points} points" in said and said.count("W3") == 3


FRONT = {"schema": "emqlang.front/1", "proxy": {"text": "bits"}, "over": "size", "points": []}
POINT = {"cost": 3, "score": 1.0}


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (None, "E301"),
        ("{", "the front is not JSON"),
        ([], "this is not a front"),
        ({"schema": "emqlang.assign/1"}, "this is not a front"),
        (FRONT, "the front has no points"),
        ({**FRONT, "points": [{"cost": 3}]}, "the front, points[0]"),
        ({**FRONT, "points": [{"cost": "3", "score": 1}]}, "points[0].cost"),
        ({**FRONT, "over": "joules", "points": [POINT]}, "the front is over 'joules'"),
        ({"schema": "emqlang.run.front/1", "programs": []}, "the front has no points"),
    ],
)
def test_files_that_are_no_fronts(emq: Emq, tmp_path: Path, record: object, said: str) -> None:
    path, out = tmp_path / "front.json", tmp_path / "out.svg"
    if record is not None:
        path.write_text(record if isinstance(record, str) else json.dumps(record))
    done = emq("plot", "pareto", str(path), "--out", str(out))
    assert done.status and said in done.err and "Traceback" not in done.err, done.err
    assert not out.exists()


@pytest.fixture(scope="module")
def searched(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("searched") / "run"
    small = ("--islands", "2", "--population", "16", "--stat-images", "16", "--steps", "4")
    words = ["evolve", "--table", str(table), "--out", str(folder), "--inputs", "w,qerr,bits"]
    assert run([*words, *small]) == 0
    return folder


def test_the_best_fitness_so_far_of_several_runs(emq: Emq, searched: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "curves.svg", tmp_path / "other $1$"
    shutil.copytree(searched, other)
    assert emq("plot", "curves", str(searched), str(other), "--out", str(out)).status == 0
    said = texts(out)
    points = curve(Ledger(searched, read_only=True))
    status = Ledger(searched, read_only=True).status()
    assert status is not None and points[-1][0] == status.evaluated
    steps, bests = zip(*points, strict=True)
    assert list(steps) == sorted(steps) and list(bests) == sorted(bests)
    (best,) = top(Ledger(searched, read_only=True), 1).entries
    assert bests[-1] == best.fitness
    ends = f": {bests[-1]:.4f} after {status.evaluated:,}"
    assert sum(text.endswith(ends) for text in said) == 2
    assert any("other $1$" in text for text in said)
    assert "best fitness so far, on own, search rows by top1" in said


def test_what_became_of_proposals(emq: Emq, searched: Path, tmp_path: Path) -> None:
    out = tmp_path / "funnel.svg"
    assert emq("plot", "funnel", str(searched), "--out", str(out)).status == 0
    said = texts(out)
    status = Ledger(searched, read_only=True).status()
    assert status is not None
    whole = sum(status.funnel.values())
    for count in (whole, status.evaluated, status.funnel[Reason.SCORED]):
        assert f"{count:,}  ({count / whole:.1%})" in said
    assert f"rejected: {MEANINGS[Reason.SEEN]}" in said
    before = sum(status.funnel.get(reason, 0) for reason in BEFORE)
    assert whole - before == status.evaluated, "the bars add up"


def test_a_run_that_has_evaluated_nothing(emq: Emq, table: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "run", tmp_path / "a.svg"
    options = EvaluationOptions((str(table),), stat_images=16)
    begin(SearchSettings(inputs=("w", "bits")), options, folder, "a test", Workers())
    for name in ("curves", "funnel"):
        done = emq("plot", name, str(folder), "--out", str(out))
        assert done.status == 2 and "the run has had no step yet" in done.err
        assert not out.exists()


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("fisher_length", "shift square total total square + sqrt mean -"),
        ("(w - 0.123456789) ** 2", "w 0.1235 - **_2 mean bits *"),
        ("bits", "bits"),
    ],
)
def test_a_program_as_a_graph(emq: Emq, tmp_path: Path, text: str, labels: str) -> None:
    out = tmp_path / "graph.svg"
    assert emq("plot", "graph", text, "--out", str(out)).status == 0
    words = [text.replace(" ", "_") for text in texts(out)]
    assert sorted(words[: len(labels.split())]) == sorted(labels.split())


def test_the_canonical_form_as_a_graph(emq: Emq, tmp_path: Path) -> None:
    outs = [tmp_path / name for name in ("a.svg", "b.svg")]
    text = "inv(inv(mean(w)))"
    assert emq("plot", "graph", text, "--out", str(outs[0])).status == 0
    assert emq("plot", "graph", text, "--canonical", "--out", str(outs[1])).status == 0
    assert texts(outs[0]).count("inv") == 2 and "inv" not in texts(outs[1])


@pytest.mark.parametrize("name", [*LIBRARY])
def test_no_two_nodes_of_the_library_overlap(name: str) -> None:
    """Rows of a layer are apart, operands are to the left, and those of a new leaf in order."""
    expr = LIBRARY[name].elaborated
    layout = layered(expr)
    taken = [(layer, row) for (_, layer), row in layout.row.items()]
    for i, (layer, row) in enumerate(taken):
        assert all(layer != other or abs(row - y) > 0.999 for other, y in taken[:i])
    nodes = [*postorder(expr)]
    assert {node for node, layer in layout.row if layout.layer[node] == layer} == {*nodes}
    for node in nodes:
        assert all(layout.layer[operand] < layout.layer[node] for operand in node.args)
        uses = [layout.layer[user] for user in nodes if node in user.args]
        assert not uses or layout.layer[node] == min(uses) - 1


def test_how_layers_meet(emq: Emq, tmp_path: Path) -> None:
    out = tmp_path / "matrix.svg"
    few = ("--stat-images", "8", "--label-draws", "1", "--bits", "2,4")
    assert emq("plot", "matrix", *few, "--out", str(out)).status == 0
    said = texts(out)
    assert {"total(shift), W2", "total(shift), W4", "mean product, scaled"} <= {*said}
    assert said.count("conv1") == 3, "below both panels, and beside the first"
    title = "resnet18-fmnist: how layers meet in fisher_whole, over 8 values"
    assert title in said and "- marks cells below -0.05" in said
    done = emq("plot", "matrix", "fisher_length", *few, "--out", str(out), "--force")
    assert done.status == 0 and "total(shift ** 2), W2" in texts(out)


def test_products_are_means_over_images() -> None:
    terms = np.random.default_rng(0).standard_normal((5, 2, 7))
    terms[3, 1] = 0
    found = met(terms)
    assert found.shape == (2, 5, 5)
    for choice, one, other in np.ndindex(2, 5, 5):
        a, b = terms[one, choice], terms[other, choice]
        if choice == 1 and 3 in (one, other):
            assert np.isnan(found[choice, one, other])
            continue
        expected = np.mean(a * b) / np.sqrt(np.mean(a * a) * np.mean(b * b))
        assert found[choice, one, other] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ["scatter", "pareto"])
def test_a_proxy_without_finite_scores_is_left_out_and_told(
    emq: Emq, tmp_path: Path, name: str
) -> None:
    out = tmp_path / "a.svg"
    done = emq("plot", name, "exp(800 * bits)", "--out", str(out))
    assert done.status == EXIT_NOT_FINITE and "E501" in done.err and not out.exists()
    done = emq("plot", name, "exp(800 * bits)", "bit_sum", "--out", str(out))
    assert done.status == EXIT_NOT_FINITE and "'exp(800 * bits)' has scores" in done.err
    assert any("bit_sum" in text for text in texts(out))
    assert not any("exp" in text for text in texts(out))


def test_without_matplotlib_there_are_no_pictures(
    emq: Emq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = emq("plot", "graph", "bits", "--out", str(tmp_path / "a.svg"))
    assert done.status == 2 and "pip install 'emqlang[plot]'" in done.err


@pytest.mark.parametrize(
    ("words", "code", "place"),
    [
        (("scores",), "give an EXPR", "a.svg"),
        (("scores", "no_proxy"), "E102", "a.svg"),
        (("scores", "bits", "--model", "no-such"), "E305", "a.svg"),
        (("scores", "exp(800 * bits)"), "E501", "a.svg"),
        (("scores", "bits", "--loss", "self"), "E403", "a.svg"),
        (("scores", "bits"), "E403", "a.pdf"),
        (("curves",), "missing argument", "a.svg"),
        (("curves", "no-run"), "E301", "a.svg"),
        (("funnel", "no-run"), "E301", "a.svg"),
        (("graph", "no_proxy"), "E102", "a.svg"),
        (("graph", " + ".join(f"numel ** {i + 2}" for i in range(120))), "E403", "a.svg"),
        (("matrix", "bit_sum"), "'bit_sum' separates", "a.svg"),
        (("matrix", "-total(l2(qerr)) ** 2"), "not one for each image", "a.svg"),
        (("matrix", "--model", "no-such"), "E305", "a.svg"),
        (("pareto", "--table", "no-table"), "E301", "a.svg"),
        (("pareto", "bits", "front.json"), "two pictures", "a.svg"),
        (("pareto", "front.json", "--table", "vgg-fmnist-all"), "--table is not used", "a.svg"),
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
