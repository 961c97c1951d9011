"""Uniform bits beside every answer of `assign` and `quantize`, and in recipes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import Emq, record
from loaders import Quick, quick

import emqlang as emq_api

__all__ = ["quick"]  # fixtures

FREE = "-sum(square(qerr))"


def test_assign_says_what_uniform_bits_score(emq: Emq) -> None:
    found = record(emq, "assign", FREE, "--avg-bits", "3")
    scored = record(emq, "eval", FREE, "--config", "3")["proxies"][0]["config"]["score"]
    uniform = found["uniform"]
    assert uniform["choice"] == "W3" and uniform["avg_bits"] == 3
    assert (
        uniform["score"] == pytest.approx(scored, rel=1e-12) and uniform["score"] < found["score"]
    )
    assert uniform["achieved"].keys() == found["achieved"].keys()


def test_fixed_layers_keep_their_bits(emq: Emq) -> None:
    words = ("--size", "0.27MiB", "--fix", "conv1=8,fc=8")
    uniform = record(emq, "assign", FREE, *words)["uniform"]
    given = ",".join("8" if g in (0, 17) else "3" for g in range(18))
    expected = record(emq, "assign", "--config", given)
    assert uniform["choice"] == "W3" and uniform["achieved"]["size"] == expected["achieved"]["size"]


def test_there_may_be_none(emq: Emq) -> None:
    words = ("assign", FREE, "--bits", "3,4", "--avg-bits", "3", "--fix", "conv1=8")
    assert record(emq, *words)["uniform"]["choice"] == "W3"  # average bits leave out what is fixed
    shown = emq("assign", FREE, "--avg-bits", "3", "--fix", "*=3").out
    assert "no single choice for all groups meets the budget" in " ".join(shown.split())


def test_given_bits_have_none_beside_them(emq: Emq) -> None:
    assert record(emq, "assign", "--config", "3")["uniform"] is None
    assert "uniform" not in emq("assign", "--config", "3").out


def test_a_front_has_the_uniform_points(emq: Emq) -> None:
    found = record(emq, "assign", FREE, "--sweep", "--over", "avg-bits")
    assert found["status"] == "optimal"
    assert [beside["choice"] for beside in found["uniform"]] == ["W2", "W3", "W4"]
    for beside in found["uniform"]:
        cheaper = [p["score"] for p in found["points"] if p["cost"] <= beside["cost"]]
        assert max(cheaper) >= beside["score"] - 1e-9 * abs(beside["score"])
    assert "uniform bits beside them" in emq("assign", FREE, "--sweep").out


@pytest.mark.parametrize("columns", ["60", "80", "120"])
def test_it_fits_every_terminal(
    emq: Emq, quick: Quick, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    for words in (
        ("assign", FREE, "--avg-bits", "3"),
        ("quantize", FREE, "--avg-bits", "3", *quick),
    ):
        lines = emq(*words).out.splitlines()
        assert any("uniform" in line for line in lines)
        assert max(map(len, lines)) <= int(columns)


def test_quantize_measures_uniform_bits_too(emq: Emq, quick: Quick, tmp_path: Path) -> None:
    path = str(tmp_path / "recipe.json")
    emq("assign", FREE, "--avg-bits", "3", "--out", path)
    found = record(emq, "quantize", "--recipe", path, *quick)
    alone = record(emq, "quantize", "--config", "3", *quick)
    assert found["beside"]["uniform"]["choice"] == "W3" and alone["beside"] is None
    assert found["beside"]["after"] == alone["after"] != found["after"]
    one = record(emq, "quantize", FREE, "--avg-bits", "3", *quick)
    assert one["beside"] == found["beside"]
    assert record(emq, "quantize", "--recipe", path, *quick, "--no-uniform")["beside"] is None


def test_uniform_bits_that_were_edited_are_left_out(emq: Emq, quick: Quick, tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    emq("assign", FREE, "--avg-bits", "3", "--out", str(path))
    recipe = json.loads(path.read_text())
    recipe["solver"]["uniform"]["choice"] = "W4"
    path.write_text(json.dumps(recipe))
    done = emq("quantize", "--recipe", str(path), *quick, "--json")
    assert "W611" in done.err and json.loads(done.out)["beside"] is None
    recipe["solver"]["uniform"]["choice"] = "four"
    path.write_text(json.dumps(recipe))
    done = emq("quantize", "--recipe", str(path), *quick, "--json")
    assert json.loads(done.out)["errors"][0]["code"] == "E310"


def test_the_api_has_it_in_the_recipe() -> None:
    bench = emq_api.collect("resnet18-fmnist")
    solver = emq_api.assign(FREE, bench, avg_bits=3).solver
    assert solver is not None and solver.uniform and solver.score is not None
    assert solver.uniform.choice == "W3" and solver.uniform.score < solver.score
    solver = emq_api.assign(FREE, bench, avg_bits=3, fix="*=3").solver
    assert solver is not None and solver.uniform is None
