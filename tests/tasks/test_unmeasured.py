"""Groups of which the scores say nothing get no bits in silence: refused, or held at the most."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import Emq
from torch import Tensor, nn

import emqlang as emq

BUILD = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.o = nn.Linear(16, 16), nn.Linear(16, 10)
    def forward(self, x):
        return self.o(self.a(x).relu().detach())  # no gradient reaches `a`

def build():
    torch.manual_seed(0)
    return Net(), torch.zeros(1, 16)

def data():
    generator = torch.Generator().manual_seed(1)
    yield torch.randn(64, 16, generator=generator), torch.arange(64) % 10
"""
BUDGETS = (("--avg-bits", "3"), ("--sweep",), ("--max-drop", "50%", "--calib-images", "8"))
WHY = "no gradient of the loss reaches it on any of 64 images"


@pytest.fixture
def halfway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """A network whose first layer no gradient reaches."""
    (tmp_path / "net.py").write_text(BUILD)
    monkeypatch.chdir(tmp_path)
    return ("--model", "net.py:build", "--data", "net.py:data", "--no-cache")


@pytest.mark.parametrize("budget", BUDGETS, ids=lambda budget: budget[0])
@pytest.mark.parametrize("proxy", ["fisher_error", "snip"])
def test_assign_refuses_and_names_them(
    emq: Emq, halfway: tuple[str, ...], proxy: str, budget: tuple[str, ...]
) -> None:
    done = emq("assign", proxy, *budget, *halfway, "--json")
    (error,) = json.loads(done.out)["errors"]
    assert (done.status, error["code"]) == (1, "E409")
    assert f"1 of 2 groups: a ({WHY})" in error["message"]
    assert "--hold-unmeasured" in error["help"][0] and "'a=8'" in error["help"][1]


def test_quantize_refuses_too(emq: Emq, halfway: tuple[str, ...]) -> None:
    done = emq("quantize", "fisher_error", "--avg-bits", "3", *halfway, "--calib-images", "8")
    assert done.status == 1 and "E409" in done.err and not done.out


def test_held_groups_get_the_most_bits_and_the_answer_says_so(
    emq: Emq, halfway: tuple[str, ...]
) -> None:
    words = ("assign", "fisher_error", "--avg-bits", "3.5", "--hold-unmeasured", *halfway)
    done = emq(*words, "--out", "recipe.json", "--json")
    found = json.loads(done.out)
    assert done.status == 0 and "W612" in done.err
    assert found["held"] == {"a": WHY}
    assert [group["choice"] for group in found["groups"]] == ["W4", "W2"]
    assert json.loads(Path("recipe.json").read_text())["held"] == {"a": WHY}
    assert "held" in emq(*words).out


def test_the_budget_holds_for_what_is_held(emq: Emq, halfway: tuple[str, ...]) -> None:
    words = ("assign", "fisher_error", "--avg-bits", "2.5", "--hold-unmeasured", *halfway)
    done = emq(*words, "--json")
    (error,) = json.loads(done.out)["errors"]
    assert (done.status, error["code"]) == (1, "E405")
    assert error["help"][1:] == [
        "--hold-unmeasured takes 2.462 bits of avg-bits for a",
        f"held at the most bits: 1 of 2 groups: a ({WHY})",
        "fix some of them at fewer bits: --fix 'a=W2'",
    ]


def test_a_fixed_group_has_nothing_to_decide(emq: Emq, halfway: tuple[str, ...]) -> None:
    done = emq("assign", "fisher_error", "--avg-bits", "3", "--fix", "a=4", *halfway, "--json")
    found = json.loads(done.out)
    assert done.status == 0 and found["held"] == {}


def test_the_top_is_what_the_menu_has_and_no_fixed_choice(
    emq: Emq, halfway: tuple[str, ...]
) -> None:
    words = ("assign", "fisher_error", "--size", "1KiB", "--bits", "2,5", "--fix", "o=8")
    found = json.loads(emq(*words, *halfway, "--hold-unmeasured", "--json").out)
    assert [group["choice"] for group in found["groups"]] == ["W5", "W8"]


def test_a_score_that_no_choice_changes_is_refused(emq: Emq) -> None:
    for proxy in ("act_bits * numel", "0", "act_qerr"):
        done = emq("assign", proxy, "--avg-bits", "3", "--json")
        (error,) = json.loads(done.out)["errors"]
        assert error["code"] == "E409" and "18 of 18 groups" in error["message"]


def test_a_zero_of_the_networks_shape_is_a_score(emq: Emq) -> None:
    """The first layer's depth is 0, which is measured."""
    assert emq("assign", "depth", "--avg-bits", "3").status == 0


def test_scores_that_are_only_compared_are_not_refused(emq: Emq, halfway: tuple[str, ...]) -> None:
    done = emq("eval", "fisher_error", *halfway)
    assert done.status == 0 and "E409" not in done.err


def test_scores_that_fall_are_warned_of_wherever_bits_are_chosen(
    emq: Emq, halfway: tuple[str, ...]
) -> None:
    words = ("neg_log_numel", "--avg-bits", "3", *halfway[:2])
    assert "W602" in emq("assign", *words).err
    data, few = halfway[2:4], ("--calib-images", "8", "--no-check")
    assert "W602" in emq("quantize", *words, *data, *few).err
    assert "W602" in emq("assign", "neg_log_numel", "--sweep", *halfway[:2]).err
    walk = ("--max-drop", "99%", "--calib-images", "8")
    assert "W602" in emq("assign", "neg_log_numel", *walk, *halfway[:4]).err


class TestInPython:
    @staticmethod
    def network() -> nn.Module:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
        with torch.no_grad():
            for parameter in net[2].parameters():
                parameter.zero_()  # no gradient passes through it
        return net

    @staticmethod
    def data() -> list[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(1)
        return [(torch.randn(16, 8, generator=generator), torch.arange(16) % 4)]

    @pytest.mark.parametrize("as_table", [False, True])
    def test_assign(self, as_table: bool) -> None:
        statistics = emq.collect(self.network(), self.data())
        proxy: Any = "fisher_error"
        if as_table:
            proxy = emq.score(proxy, statistics)
        with pytest.raises(emq.EmqError, match="2 of 2 groups: 0, 2") as refused:
            emq.assign(proxy, statistics, avg_bits=4)
        assert refused.value.diagnostics[0].code == "E409"
        with pytest.warns(emq.EmqWarning, match="held at the most bits"):
            recipe = emq.assign(proxy, statistics, avg_bits=4, hold_unmeasured=True)
        assert recipe.bits == {"0": 4, "2": 4} and recipe.held == {
            "0": WHY.replace("64", "16"),
            "2": "the score is 0 for every choice",
        }

    def test_scores_that_fall_are_warned_of(self) -> None:
        statistics = emq.collect(self.network(), self.data())
        with pytest.warns(emq.EmqWarning, match="W602"):
            emq.assign("neg_log_numel", statistics, avg_bits=3)

    def test_scores_within_rounding_are_the_same(self) -> None:
        from ties import table

        scored = table("-sum(square(qerr))")
        assert scored.undecided() == {}
        scored.scores[1] = 1 + np.array([0, 1e-14, -1e-14])
        assert scored.undecided() == {"rest": "the score is the same for every choice"}
        allowed = np.array([[True, False, False], [True, True, True]])
        scored.scores[0] = 0
        assert scored.undecided(allowed).keys() == {"rest"}
