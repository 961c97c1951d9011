"""What a command does once, however many of its parts ask for it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import Emq
from small_table import options

from emqlang.cli import run
from emqlang.grammar import library
from emqlang.grammar.canonical import form
from emqlang.grammar.expr import Expr


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("table")
    assert run(["bench", "build", "--out", str(folder / "own.table"), *options(folder, 60)]) == 0
    return folder / "own.table"


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
