"""The attacks of `make attack` run, go on where they were stopped, and say what came out."""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from types import ModuleType

import pytest
from places import TESTS


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


def test_every_attack_says_what_it_holds(attacks: ModuleType) -> None:
    assert len(attacks.ATTACKS) > 10
    for name, attack in attacks.ATTACKS.items():
        assert attack.name == name and attack.trials >= 40 and len(attack.promise) > 40
