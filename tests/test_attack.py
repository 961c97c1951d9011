"""The attacks of `make attack` run, go on where they were stopped, and say what came out."""

from __future__ import annotations

import importlib
import itertools
import sys
import time
import warnings
from pathlib import Path
from types import ModuleType

import pytest
from places import TESTS
from torch import nn

from emqlang.quant.networks.nested import tensors


@pytest.fixture
def attacks(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(TESTS / "attack"))
    return importlib.import_module("attacks")


def test_a_ledger_is_gone_on_with_and_its_page_counts(attacks: ModuleType, tmp_path: Path) -> None:
    assignment, later = attacks.ATTACKS["assignment"], time.time() + 600
    ledger = attacks.run(assignment, tmp_path, 5, later)
    first = ledger.path.read_text()
    assert len(first.splitlines()) == 5
    attacks.run(assignment, tmp_path, 8, later)
    assert ledger.path.read_text().startswith(first) and len(ledger.verdicts()) == 8
    page = "\n".join(attacks.page([assignment], tmp_path))
    assert "8 of 10,000" in page and "the best, optimal" in page


def test_commands_are_run_killed_and_judged(
    attacks: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = importlib.import_module("trials")
    server = trials.Server(1)
    monkeypatch.setattr(trials, "servers", lambda: itertools.repeat(server))
    for name in ("modules", "edited-recipe"):
        ledger = attacks.run(attacks.ATTACKS[name], tmp_path, 1, time.time() + 600)
        assert [verdict.passed for verdict in ledger.verdicts().values()] == [True]
    assert trials.killed(tmp_path, ("eval", "numel"), 0.0)
    assert trials.emqlang(tmp_path, "eval", "numel(").status == 1
    assert trials.emqlang(tmp_path, "check", "--help").out
    server.process.stdin.close()
    assert server.process.wait() == 0


def test_failed_trials_are_tried_again(attacks: ModuleType, tmp_path: Path) -> None:
    trials = importlib.import_module("trials")
    found = [trials.Verdict(False, "a fault"), trials.Verdict(True, "mended")]
    attack = trials.Attack("one", "", 1, lambda folder: None, lambda shared, n: found.pop(0))
    assert not trials.run(attack, tmp_path, 1, time.time() + 9).verdicts()[0].passed
    assert trials.run(attack, tmp_path, 1, time.time() + 9).verdicts()[0].what == "a fault"
    assert trials.run(attack, tmp_path, 1, time.time() + 9, again=True).verdicts()[0].passed


def test_every_network_of_the_zoo_runs_on_its_data(attacks: ModuleType) -> None:
    entries = importlib.import_module("entries")
    assert len(entries.RUNS) + len(entries.REFUSED) > 100
    for name, path in entries.RUNS.items():
        if name == "compiled":  # the compiler takes seconds to be imported
            continue
        module = sys.modules[path.stem]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net, example = vars(module)[name]()
        rows = [value for batch in vars(module)[f"{name}_data"]() for value in tensors(batch)]
        assert isinstance(net, nn.Module) and tensors(example) and len(rows[0]) == entries.ROWS


def test_every_attack_says_what_it_holds(attacks: ModuleType) -> None:
    assert len(attacks.ATTACKS) > 10
    for name, attack in attacks.ATTACKS.items():
        assert attack.name == name and attack.trials >= 40 and len(attack.promise) > 40
