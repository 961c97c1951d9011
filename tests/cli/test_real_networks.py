"""Networks whose batches are no images, from scores to bits, on the command line and in Python."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from shutil import copy

import kinds
import pytest
from commands import Emq

import emqlang
from emqlang.grammar.inputs import INPUTS, Kind

MEASURED = {name for name, row in INPUTS.items() if row.needs_data} | {"grad_synflow"}
PROXY = " + ".join(
    name if INPUTS[name].kind is Kind.LAYER else f"mean(abs({name}))" for name in sorted(MEASURED)
)
COUNTS = ("--stat-images", "20", "--hessian-samples", "2")


# network -> its data, and the options that it needs
KINDS = {
    "encoder": ("sentences", ()),
    "detector": ("labelled_scenes", ("--loss", "real.py:both", "--forward", "real.py:look")),
    "bare_tabular": ("flat_rows", ()),
    "regression": ("measured", ()),
    "decoder": ("texts", ()),
    "stored": ("pixels", ()),
    "half": ("halves", ()),
    "double": ("doubles", ()),
}


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that holds the networks in `real.py`, in which the command runs."""
    copy(kinds.__file__, tmp_path / "real.py")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def words(kind: str) -> tuple[str, ...]:
    """The options that name a network and its data."""
    data, options = KINDS[kind]
    return ("--model", f"real.py:{kind}", "--data", f"real.py:{data}", *options, "--no-cache")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::emqlang.EmqWarning")
def test_every_statistic_is_taken_and_python_agrees(emq: Emq, real: Path, kind: str) -> None:
    done = emq("eval", PROXY, *COUNTS, *words(kind), "--json")
    assert done.status == 0, done.err
    (proxy,) = json.loads(done.out)["proxies"]
    rows = [list(group["scores"].values()) for group in proxy["groups"]]
    assert rows and all(math.isfinite(score) for row in rows for score in row)

    data, options = KINDS[kind]
    own = dict(zip((word[2:] for word in options[::2]), options[1::2], strict=True))
    functions = {name: getattr(kinds, place.split(":")[1]) for name, place in own.items()}
    statistics = emqlang.collect(
        kinds.module_of(getattr(kinds, kind)),
        list(getattr(kinds, data)()),
        images=20,
        hessian_samples=2,
        **functions,
    )
    scores = emqlang.score(PROXY, statistics).scores
    assert scores.tolist() == [pytest.approx(row, rel=1e-5) for row in rows]


@pytest.mark.parametrize("kind", KINDS)
def test_bits_are_assigned(emq: Emq, real: Path, kind: str) -> None:
    done = emq("assign", "fisher_error", "--avg-bits", "3", *COUNTS[:2], *words(kind), "--json")
    assert done.status == 0, done.err
    assert {group["choice"] for group in json.loads(done.out)["groups"]} <= {"W2", "W3", "W4"}


@pytest.mark.parametrize("kind", ["encoder", "bare_tabular", "regression", "decoder", "detector"])
def test_labels_may_be_the_networks_own(emq: Emq, real: Path, kind: str) -> None:
    options = [word for word in words(kind) if word not in ("--loss", "real.py:both")]
    done = emq("eval", "fisher_qerr", *COUNTS[:2], *options, "--loss", "self", "--json")
    assert done.status == 0, done.err


def test_how_a_batch_is_fed_is_kept_in_a_recipe(emq: Emq, real: Path) -> None:
    kept = ("--calib-images", "24", "--no-check", "--out", "q")
    assert emq("quantize", "--config", "4", *words("detector")[:4], *kept).status == 0
    assert "forward" not in json.loads(Path("q/recipe.json").read_text())["origin"]
    forward = ("--forward", "real.py:look")
    again = ("quantize", "--config", "4", *words("detector")[:4], *forward, *kept[:-1], "p")
    assert emq(*again).status == 0
    assert json.loads(Path("p/recipe.json").read_text())["origin"]["forward"] == "real.py:look"
    found = json.loads(emq("evaluate", "p", "--json").out)
    assert found["images"] == 64


WRONG = {
    ("--loss", "nothing"): ("E403", "there is no loss 'nothing'"),
    ("--loss", "real.py:nothing"): ("E301", "has no 'nothing'"),
    ("--loss", "real.py:number"): ("E304", "the loss returned float"),
    ("--loss", "real.py:vector"): ("E304", "the loss returned float32 (1, 2)"),
    ("--loss", "real.py:count"): ("E304", "the loss returned int64 ()"),
    ("--loss", "real.py:nan"): ("E304", "the loss returned a value that is not finite"),
    ("--loss", "real.py:broken"): ("E304", "the loss failed: KeyError: 'box'"),
    ("--loss", "real.py:plain"): ("E304", "the loss has no gradient"),
    ("--forward", "real.py:nothing"): ("E301", "has no 'nothing'"),
    ("--forward", "real.py:seven"): ("E403", "real.py:seven is of type int, not a function"),
    ("--forward", "real.py:broken"): ("E308", "failed: "),
}
FUNCTIONS = """
seven = 7
def number(outputs, batch): return float(outputs.sum())
def vector(outputs, batch): return outputs[:, :2]
def count(outputs, batch): return outputs.argmax(1).sum()
def nan(outputs, batch): return outputs.sum() - float("inf") + float("inf")
def broken(outputs, batch): return {}["box"]
def plain(outputs, batch): return outputs.detach().mean()
"""


@pytest.mark.parametrize("option", WRONG, ids=" ".join)
def test_functions_that_do_not_do_are_refused(
    emq: Emq, real: Path, option: tuple[str, str]
) -> None:
    with Path("real.py").open("a") as file:
        file.write(FUNCTIONS)
    code, message = WRONG[option]
    done = emq("eval", "fisher_qerr", *COUNTS[:2], *words("bare_tabular"), *option, "--json")
    (error,) = json.loads(done.out)["errors"]
    assert error["code"] == code and message in error["message"]


def test_a_loader_without_an_end_is_refused(
    emq: Emq, real: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path("real.py").open("a") as file:
        file.write("def endless():\n    while True: yield from measured()\n")
    monkeypatch.setattr(sys.modules["emqlang.quant.data.loader"], "LONGEST", 100)
    options = ("--model", "real.py:regression", "--test", "real.py:endless", "--json")
    (error,) = json.loads(emq("evaluate", *options).out)["errors"]
    assert error["code"] == "E304" and "has given 100 rows, and does not end" in error["message"]
    quantize = ("quantize", "--config", "4", "--calib-images", "20", "--data", "real.py:endless")
    assert emq(*quantize, *options[:2], "--test", "real.py:measured", "--no-check").status == 0
