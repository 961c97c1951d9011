"""The paper's Tables 4 to 7 and Figure 5, as experiments: small, but whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Emq

from emqlang.experiments import bits, budgets, qat
from emqlang.experiments.qat import ROWS
from emqlang.quant.networks.network import load
from emqlang.tasks.problem import Constraints
from emqlang.tasks.workbench import WorkbenchOptions

UNIFORM_ROW = "resnet18-fmnist W3 A8, uniform"


def results(emq: Emq, name: str, out: Path, *more: str) -> list[dict[str, Any]]:
    done = emq("experiment", name, "--out", str(out), "--json", *more)
    assert done.status == 0, done.err
    found: list[dict[str, Any]] = json.loads(done.out)["results"]
    return found


def test_the_rows_are_those_that_the_paper_has_and_ours() -> None:
    assert len(ROWS) == 28 and len(qat.ONCE) == 20
    assert {row.method for row in ROWS.values()} == {*qat.PROXIES, "uniform", "20 random"}
    drawn = [name for name, row in ROWS.items() if row.method == qat.RANDOM]
    assert drawn == ["resnet18-fmnist W2.5 A8, 20 random"]


def test_random_bits_have_the_average_that_is_asked_for() -> None:
    options, limits = WorkbenchOptions(), Constraints(avg_bits="2.5")
    network = options.network()
    drawn = bits.random(2.5, 20, options, limits, seed=0)
    averages = [bits.average_bits(recipe, network) for recipe in drawn]
    assert len(averages) == 20 and all(2.48 <= each <= 2.5 for each in averages)
    assert len({tuple(recipe.bits.values()) for recipe in drawn}) == 20
    again = bits.random(2.5, 20, options, limits, seed=0)
    assert [one.bits for one in again] == [one.bits for one in drawn]
    assert [one.bits for one in bits.random(2.5, 20, options, limits, seed=1)] != [
        one.bits for one in drawn
    ]


def test_the_size_in_float_is_that_of_weights_biases_and_norms() -> None:
    network = load("resnet18-fmnist")
    weights = 4 * sum(layer.numel for layer in network.collection.layers)
    assert weights < bits.float_bytes(network) < 1.02 * weights


def test_the_papers_share_gives_its_bits_between_4_and_8() -> None:
    setting = qat.PAPER
    network = load(setting.network)
    recipe = bits.chosen("bit_sum", setting.options, setting.limits(network))
    widths = list(recipe.bits.values())
    assert widths[0] == widths[-1] == 8 and set(widths) <= {4, 5, 6, 7, 8}
    assert recipe.achieved["size"] <= qat.PAPER_SHARE * bits.float_bytes(network)


@pytest.mark.slow
def test_training_wins_something_back_and_is_resumed(emq: Emq, tmp_path: Path) -> None:
    some = ("--only", UNIFORM_ROW, "--seeds", "1", "--size", "1000")
    (result,) = results(emq, "qat", tmp_path / "x", *some)
    figures = result["figures"]
    assert figures["quantized"] < figures["float"] and figures["bits"] == 3
    lost = figures["float"] - figures["quantized"]
    won = figures["trained"] - figures["quantized"]
    assert figures["recovered"] == pytest.approx(won / lost)
    assert set(result["facts"]["bits"].values()) == {3}
    trials = list((tmp_path / "x").rglob("0.json"))
    assert len(trials) == 1 and results(emq, "qat", tmp_path / "x", *some) == [result]
    shown = emq("experiment", "qat", "--out", str(tmp_path / "x"), *some)
    assert shown.out.count("not run") == len(ROWS) - 1
    trials[0].unlink()  # what was trained is there: the same figures come of it
    (again,) = results(emq, "qat", tmp_path / "x", *some)
    kept = {name: value for name, value in figures.items() if name != "seconds"}
    assert {n: v for n, v in again["figures"].items() if n != "seconds"} == kept


@pytest.mark.slow
def test_accuracy_over_size_and_its_picture(emq: Emq, tmp_path: Path) -> None:
    picture = tmp_path / "x.svg"
    some = ("--only", "uniform", "--seeds", "1", "--size", "64", "--plot", str(picture))
    (result,) = results(emq, "figure5", tmp_path / "x", *some)
    figures, curve = result["figures"], np.array(result["curve"])
    assert list(figures) == [f"{each:g}" for each in budgets.BUDGETS]
    assert len(curve) == 2 and (np.diff(curve, axis=0) > 0).all()  # 2 bits, and 3
    assert "size, MiB" in picture.read_text()
