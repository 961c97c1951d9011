"""What a command does once, however many of its parts ask for it."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from commands import Emq

from emqlang.grammar import library
from emqlang.grammar.canonical import form
from emqlang.grammar.expr import Expr
from emqlang.quant.networks import network
from emqlang.quant.statistics import collect
from emqlang.tasks import evolve


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[bytes]]:
    """How often each expression's canonical form is computed, whichever module asks for it."""
    counts: Counter[bytes] = Counter()
    compute = form.canonical

    def counting(expr: Expr, *rest: Any, **options: Any) -> Expr:
        counts[expr.digest] += 1
        return compute(expr, *rest, **options)

    for name, module in list(sys.modules.items()):
        if name.startswith("emqlang.") and getattr(module, "canonical", None) is compute:
            monkeypatch.setattr(module, "canonical", counting)
    library._load.cache_clear()  # its programs may know their forms from an earlier test
    yield counts


def test_eval_computes_a_canonical_form_once(emq: Emq, calls: Counter[bytes]) -> None:
    text = "log(abs(grad_synflow)) * sqrt(mean(abs(w)))"
    assert emq("eval", text, "--json").status == 0
    (program,) = library.find(text)
    assert calls == {program.elaborated.digest: 1}


def test_rank_computes_each_canonical_form_once(
    emq: Emq, calls: Counter[bytes], table: Path
) -> None:
    texts = ("fisher_error", "bits * mean(abs(w))", "-(numel / bits)", "inv(numel) * bits")
    ranked = [library.find(text)[0] for text in texts]
    baselines = (name for name in library.LIBRARY if library.LIBRARY.shelf(name) == "baselines")
    ranked += [library.LIBRARY[name] for name in baselines]
    assert emq("rank", *texts, "--table", str(table), "--draws", "20", "--json").status == 0
    assert calls == {program.elaborated.digest: 1 for program in ranked}


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a network is loaded, and statistics are collected."""
    counts: Counter[str] = Counter()

    def counting(module: ModuleType, name: str) -> None:
        function = getattr(module, name)

        def counted(*args: Any, **options: Any) -> Any:
            counts[name] += 1
            return function(*args, **options)

        monkeypatch.setattr(module, name, counted)

    counting(network, "load")
    counting(collect, "collect_statistics")
    return counts


def test_rank_loads_and_collects_once_per_table(
    emq: Emq, collected: Counter[str], table: Path, tmp_path: Path
) -> None:
    other = shutil.copy(table, tmp_path / "other.table")
    tables = ("--table", str(table), "--table", str(other))
    assert emq("rank", "fisher_error", "snip", *tables, "--draws", "20").status == 0
    assert collected == {"load": 2, "collect_statistics": 2}


def test_evolve_loads_and_collects_once_per_table(
    emq: Emq, collected: Counter[str], table: Path, tmp_path: Path
) -> None:
    run, other = str(tmp_path / "r"), shutil.copy(table, tmp_path / "other.table")
    tables = ("--table", str(table), "--table", str(other))
    evolve._ARENAS.clear()
    few = ("--inputs", "w,grad,qerr,bits", "--stat-images", "16", "--steps", "3")
    first = emq("evolve", "--out", run, *tables, *few)
    assert first.status == 0, first.err
    assert collected == {"load": 2, "collect_statistics": 2}
    assert emq("evolve", "--resume", run, "--steps", "5").status == 0
    assert collected == {"load": 2, "collect_statistics": 2}, "this process has its arena"
