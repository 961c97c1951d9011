"""Bits by programs that do not separate: searched, within budget, and said to be so."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from commands import Emq, record
from loaders import Quick, quick

import emqlang

__all__ = ["quick"]  # fixtures

JOINT = "-sqrt(total(numel * mean(square(qerr))) + square(total(mean(qerr) * bits)))"
SUM = "-sum(square(qerr))"


def assigned(emq: Emq, *arguments: str, status: int = 0) -> dict[str, Any]:
    return record(emq, "assign", *arguments, status=status)


def test_many_groups_are_searched(emq: Emq, tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    found = assigned(emq, JOINT, "--avg-bits", "3", "--out", str(path))
    assert found["status"] == "best found" and found["gap"] is None
    assert found["achieved"]["avg-bits"] <= found["budgets"]["avg-bits"]
    assert found["score"] > found["uniform"]["score"]
    config = ",".join(group["choice"][1:] for group in found["groups"])
    scored = json.loads(emq("eval", JOINT, "--config", config, "--json").out)
    assert scored["proxies"][0]["config"]["score"] == found["score"]
    solver = json.loads(path.read_text())["solver"]
    assert solver["method"] == "search" and solver["status"] == "best found"
    assert solver["score"] == found["score"] and solver["gap"] is None
    assert "best found: not proven" in emq("assign", JOINT, "--avg-bits", "3").out


def test_it_is_no_worse_than_what_the_separable_part_chooses(emq: Emq) -> None:
    sums = assigned(emq, SUM, "--avg-bits", "3")
    config = ",".join(group["choice"][1:] for group in sums["groups"])
    scored = json.loads(emq("eval", JOINT, "--config", config, "--json").out)
    assert (
        assigned(emq, JOINT, "--avg-bits", "3")["score"]
        >= (scored["proxies"][0]["config"]["score"])
    )


def test_few_free_groups_are_proven(emq: Emq) -> None:
    words = ("--avg-bits", "3", "--fix", "layer2.*=3,layer3.*=3,layer4.*=3")
    found = assigned(emq, JOINT, *words)
    assert found["status"] == "optimal" and found["gap"] == 0
    drawn = assigned(emq, JOINT, *words, "--method", "sample", "--samples", "500")
    assert drawn["status"] == "feasible" and drawn["score"] <= found["score"]


def test_two_budgets_hold_together(emq: Emq) -> None:
    found = assigned(emq, JOINT, "--avg-bits", "3", "--bops", "0.17G")
    assert all(found["achieved"][name] <= limit for name, limit in found["budgets"].items())


def test_a_front_says_that_it_was_searched(emq: Emq) -> None:
    words = (JOINT, "--sweep", "--over", "avg-bits")
    found = assigned(emq, *words)
    points = found["points"]
    assert found["status"] == "best found" and len(points) > 10
    assert all(a["cost"] < b["cost"] and a["score"] < b["score"] for a, b in pairwise(points))
    assert set(points[0]["choices"]) == {"W2"}
    assert set(points[-1]["choices"]) == {"W4"}
    for beside in found["uniform"]:
        cheaper = [point["score"] for point in points if point["cost"] <= beside["cost"]]
        assert max(cheaper) >= beside["score"]


def test_groups_that_change_nothing_are_refused(emq: Emq) -> None:
    flat = "-square(total(sum(square(qerr)) * relu(depth - 3)))"
    found = assigned(emq, flat, "--avg-bits", "3", status=1)
    assert found["errors"][0]["code"] == "E409"
    held = assigned(emq, flat, "--avg-bits", "3.5", "--hold-unmeasured")
    assert held["held"] and held["groups"][0]["choice"] == "W4"


def test_quantize_takes_them_too(emq: Emq, quick: Quick) -> None:
    done = emq("quantize", JOINT, "--avg-bits", "3", *quick, "--json")
    found = json.loads(done.out)
    assert done.status == 0 and found["after"]["accuracy"] > found["beside"]["after"]["accuracy"]


def test_max_drop_walks_what_was_found(emq: Emq, quick: Quick) -> None:
    images = [option for option in quick if option != "--no-check"]
    done = emq("assign", JOINT, "--max-drop", "6%", *images, "--json")
    found = json.loads(done.out)
    assert done.status == 0 and found["best"]["status"] == "best found"


def test_the_api(recwarn: pytest.WarningsRecorder) -> None:
    bench = emqlang.collect("resnet18-fmnist")
    recipe = emqlang.assign(JOINT, bench, avg_bits=3)
    assert recipe.solver is not None and recipe.solver.status == "best found"
    again = emqlang.assign(emqlang.score(JOINT, bench), bench, avg_bits=3)
    assert again.bits == recipe.bits and recipe.solver.uniform
