"""Programs that do not separate on the command line, in the REPL and from Python."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import numpy as np
import pytest
import torch
from commands import Emq
from torch import nn

import emqlang as emq_api
from emqlang.cli.repl.interpreter import Interpreter
from emqlang.grammar.diagnostics import EmqError
from emqlang.grammar.expr import inputs
from emqlang.grammar.library import LIBRARY
from emqlang.scores.joint import ConfigurationScore
from emqlang.tasks.workbench import Workbench, WorkbenchOptions

FREE = "-log(total(numel / bits ** 2))"  # needs no images
FAST = ("--weights", "random", "--no-cache")
GROUPS = 18
TOP = ["W4"] * GROUPS


def scored(emq: Emq, *arguments: str) -> dict[str, Any]:
    done = emq("eval", *arguments, *FAST, "--json")
    assert done.status == 0, done.err
    (proxy,) = json.loads(done.out)["proxies"]
    return dict(proxy)


def test_the_object_says_that_it_does_not_separate(emq: Emq) -> None:
    proxy = scored(emq, FREE)
    assert proxy["separable"] is False and proxy["choice_dependent"] and proxy["config"] is None
    assert len(proxy["reference"]["bits"]) == GROUPS and set(proxy["reference"]["bits"]) == {4}
    assert all(set(group) == {"name", "layers", "gains"} for group in proxy["groups"])
    assert all(
        group["gains"]["W4"] == 0 > group["gains"]["W3"] > group["gains"]["W2"]
        for group in proxy["groups"]
    )
    assert [layer["value"] for layer in proxy["layers"]] == [None] * len(proxy["layers"])
    assert scored(emq, "-total(numel / bits)")["separable"]


def test_a_score_that_falls_is_said_to_be_of_few_values(emq: Emq) -> None:
    done = emq("eval", FREE.removeprefix("-"), *FAST)
    assert f"W602]: the score falls as bits rise in {GROUPS} of {GROUPS} groups" in done.err
    assert "cancel by chance" in done.err
    assert "W602" not in emq("eval", FREE, *FAST).err


def test_gains_are_what_configurations_gain(emq: Emq) -> None:
    config = [4] * 9 + [3] * 9
    proxy = scored(emq, FREE, "--config", ",".join(map(str, config)))
    assert proxy["reference"]["bits"] == config
    assert proxy["config"]["score"] == proxy["reference"]["score"]
    moved = [2, *config[1:]]
    other = scored(emq, FREE, "--config", ",".join(map(str, moved)))
    gained = other["config"]["score"] - proxy["config"]["score"]
    assert proxy["groups"][0]["gains"]["W2"] == pytest.approx(gained, abs=1e-12)
    assert proxy["groups"][-1]["gains"]["W3"] == 0


def test_the_screen_and_the_lines_of_csv(emq: Emq) -> None:
    shown = emq("eval", FREE, *FAST).out
    assert "no sum over layers" in shown and "W4 everywhere" in shown and "0.0000" in shown
    lines = list(csv.DictReader(io.StringIO(emq("eval", FREE, *FAST, "--csv").out)))
    assert len(lines) == 21 and float(lines[0]["W2"]) < 0 == float(lines[0]["W4"])


def test_a_sum_of_totals_is_a_table_as_ever(emq: Emq) -> None:
    ours, plain = (scored(emq, text) for text in ("-total(numel / bits)", "-numel / bits"))
    assert ours["separable"] and ours["key"] == plain["key"] and ours["groups"] == plain["groups"]


def test_show_says_which_is_which(emq: Emq) -> None:
    assert "it separates" in emq("show", "--stage", "plan", "fisher_form").out
    plan = emq("show", "--stage", "plan", "fisher_cross").out
    assert "does not separate" in plan and "@1 = total(shift" in plan
    kinds = emq("show", "--stage", "kinds", "fisher_cross").out
    assert "configuration image" in kinds


def test_the_repl_scores_whole_configurations(capsys: pytest.CaptureFixture[str]) -> None:
    talk = Interpreter(Workbench(WorkbenchOptions(weights="random", cache=False)))
    talk.execute(FREE)
    assert "separates" in capsys.readouterr().out
    talk.execute("t = total(numel / bits)")
    with pytest.raises(EmqError, match="E201"):
        talk.execute("t * bits")


def test_ops_and_explanations(emq: Emq) -> None:
    assert "configuration" in emq("explain", "total").out
    assert "each image" in emq("explain", "shift").out
    record = json.loads(emq("ops", "--json").out)
    (total,) = [op for op in record["ops"] if op["name"] == "total"]
    gives = [(*kind["takes"], kind["gives"]) for kind in total["kinds"]]
    assert gives == [("layer", "configuration"), ("image", "configuration image")]


def test_equivalence_is_seen_on_whole_configurations(emq: Emq) -> None:
    same = emq("equiv", "square(total(2 * kl))", "4 * total(kl) ** 2")
    assert same.status == 0
    other = emq("equiv", "square(total(kl))", "total(square(kl))")
    assert other.status == 1 and "different" in other.out
    opposite = emq("equiv", "log(total(bits))", "-log(total(bits))")
    assert opposite.status == 1 and "opposite" in opposite.out


def test_label_draws_are_refused_where_nothing_reads_them(emq: Emq) -> None:
    done = emq("eval", "fisher_form", "--label-draws", "4", *FAST)
    assert done.status == 2 and "E403" in done.err and "--label-draws" in done.err
    assert emq("eval", "fisher_cross", "--label-draws", "0", *FAST).status == 2


class Opposite(nn.Module):
    """Two layers whose errors cancel. (N, 4)"""

    def __init__(self) -> None:
        super().__init__()
        self.plus, self.minus = nn.Linear(4, 3), nn.Linear(4, 3)
        self.minus.load_state_dict(self.plus.state_dict())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.plus(x) - self.minus(x) + x[:, :3]
        return y


@pytest.fixture(scope="module")
def opposite() -> Workbench:
    torch.manual_seed(3)
    net, images = Opposite().eval(), torch.randn(16, 4)
    found = emq_api.collect(net, [(images, net(images).argmax(1))], bits="2,8", images=16)
    assert isinstance(found, Workbench)
    return found


CROSS = [name for name in LIBRARY if LIBRARY.shelf(name) == "across_layers"]


@pytest.mark.parametrize("name", CROSS)
def test_errors_that_cancel_are_seen(opposite: Workbench, name: str) -> None:
    scores = emq_api.score(name, opposite)
    assert isinstance(scores, ConfigurationScore)
    both, one, other, none = scores.totals(np.array([[0, 0], [0, 1], [1, 0], [1, 1]]))
    # Neither layer is the other as measured: one gives the label what the other takes from it.
    measured = "loss_shift" in inputs(LIBRARY[name].canonical)
    assert (
        one == pytest.approx(other, rel=0.1 if measured else 1e-6) and max(one, other) < none <= 0
    )
    together = {"fisher_whole", "fisher_log", "fisher_root", "shift_spread"}
    assert both == pytest.approx(none, abs=1e-3 * -one) if name in together else both < none
    alone = emq_api.score("-mean(square(shift))", opposite)
    assert alone.score([0, 0]) < alone.score([0, 1])


def test_bits_whose_errors_cancel_are_chosen(opposite: Workbench) -> None:
    """All three configurations within the budget are scored; a sum over layers takes another."""
    for proxy in ("fisher_whole", emq_api.score("fisher_whole", opposite)):
        recipe = emq_api.assign(proxy, opposite, avg_bits=5)
        assert recipe.solver is not None and recipe.solver.status == "optimal"
        assert set(recipe.bits.values()) == {2} and recipe.solver.uniform
        assert recipe.solver.uniform.choice == "W2"
        assert recipe.solver.uniform.score == recipe.solver.score
    alone = emq_api.assign("-mean(square(shift))", opposite, avg_bits=5)
    assert sorted(alone.bits.values()) == [2, 8]
