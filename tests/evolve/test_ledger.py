"""Runs that were edited or damaged: E316 says so, whatever is asked of them."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from emqlang.evolve.history import entry, front, lineage, of_program, top
from emqlang.evolve.ledger import FILE, Ledger
from emqlang.evolve.search import Budget, Search
from emqlang.evolve.settings import EvaluationOptions, SearchSettings
from emqlang.grammar.diagnostics import EmqError
from emqlang.grammar.program import parse
from emqlang.tasks.workers import Workers
from tests.support.arenas import arena, names

# Every value that a run has, edited: SQL, or JSON that replaces one of its facts.
ROWS = (
    "UPDATE programs SET fitness = 0.99999 WHERE id = 5",
    "UPDATE programs SET text = 'sum(' WHERE id = 5",
    "UPDATE programs SET nodes = 1 WHERE id = 5",
    "UPDATE programs SET cost = 99 WHERE id = 5",
    "UPDATE programs SET reason = 'zzz' WHERE id = 5",
    "UPDATE programs SET rho = '{' WHERE id = 5",
    "UPDATE programs SET rho = 'null' WHERE id = 5",
    "UPDATE programs SET parents = '{' WHERE id = 5",
    "UPDATE programs SET parents = '7' WHERE id = 5",
    "UPDATE programs SET repeats = 1000 WHERE id = 5",
    "UPDATE programs SET key = x'00' WHERE id = 5",
    "UPDATE programs SET digest = NULL WHERE id = 5",
    "UPDATE programs SET text = CAST(x'ff' AS TEXT) WHERE id = 5",
    "UPDATE programs SET id = 100000 WHERE id = 5",
    "DELETE FROM programs WHERE id = 5",
    "DELETE FROM programs WHERE id = (SELECT max(id) FROM programs)",
    "DELETE FROM programs",
    "UPDATE steps SET funnel = '{' WHERE step = 0",
    "UPDATE steps SET funnel = '[1, 2]' WHERE step = 0",
    "UPDATE steps SET evaluated = 'many' WHERE step = 0",
    "UPDATE steps SET best = 'x' WHERE step = 0",
    "UPDATE steps SET step = 9 WHERE step = 0",
    "DELETE FROM steps WHERE step = 1",
    "DELETE FROM steps",
    "UPDATE populations SET members = '[1,2]' WHERE island = 0",
    "UPDATE populations SET members = '{\"a\":1}' WHERE island = 0",
    f"UPDATE populations SET members = '{'[' * 100_000}' WHERE island = 0",
    "UPDATE populations SET members = '[]' WHERE island = 0",
    "DELETE FROM populations WHERE island = 1",
    "DELETE FROM times WHERE step = 1",
    "UPDATE times SET programs = 1 WHERE step = 1",
    "DELETE FROM facts WHERE name = 'settings'",
    "DELETE FROM facts WHERE name = 'digest'",
    "UPDATE facts SET name = x'00' WHERE name = 'versions'",
    "DROP TABLE programs",
    "DROP TABLE times",
    "ALTER TABLE programs RENAME COLUMN fitness TO fit",
    "ALTER TABLE steps DROP COLUMN digest",
)
FACTS = (
    '{"settings": {"seed": 5}}',
    '{"settings": null}',
    '{"settings": {"islands": "a"}}',
    '{"settings": {"population": -5}}',
    '{"judged": null}',
    '{"judged": {"split": 3}}',
    '{"op_table": 10000000000000000000000}',
    '{"versions": []}',
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three steps of two islands."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    settings = SearchSettings(inputs=tuple(names()), islands=2, population=8, offspring=8)
    judged = EvaluationOptions(("made-up",)).as_dict()
    facts = {"settings": settings.as_dict(), "judged": judged, "op_table": 1, "versions": {}}
    search = Search(Ledger.create(folder, facts), arena(), Workers().run)
    search.advance(Budget(steps=3), lambda *_: None)
    return folder


def edited(run: Path, tmp_path: Path, sql: str) -> Path:
    """A copy of the run with something changed."""
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    connection = sqlite3.connect(copy / FILE)
    if sql.startswith("{"):
        for name, change in json.loads(sql).items():
            ((text,),) = connection.execute("SELECT value FROM facts WHERE name = ?", (name,))
            value = json.loads(text)
            new = value | change if isinstance(value, dict) and isinstance(change, dict) else change
            connection.execute("UPDATE facts SET value = ? WHERE name = ?", (json.dumps(new), name))
    else:
        connection.create_function("digest", -1, lambda *values: b"")
        connection.execute(sql)
    connection.commit()
    connection.close()
    return copy


@pytest.mark.parametrize("sql", (*ROWS, *FACTS), ids=lambda sql: sql[:70])
def test_an_edited_run_is_refused(run: Path, tmp_path: Path, sql: str) -> None:
    copy = edited(run, tmp_path, sql)
    for read_only in (True, False):
        with pytest.raises(EmqError) as refused:
            Ledger(copy, read_only=read_only)
        assert refused.value.diagnostics[0].code == "E316"


def test_a_run_is_read_and_goes_on(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "copy")
    search = Search(Ledger(tmp_path / "copy"), arena(), Workers().run)
    search.advance(Budget(steps=5), lambda *_: None)
    ledger = Ledger(tmp_path / "copy", read_only=True)
    assert ledger.next_step() == 5 and front(ledger).entries and not ledger.diagnostics


READ: tuple[Callable[[Ledger], object], ...] = (
    front,
    lambda ledger: top(ledger, 5),
    lambda ledger: lineage(ledger, 5),
    lambda ledger: entry(ledger, 5),
    lambda ledger: of_program(ledger, parse("sum(w)").elaborated),
    lambda ledger: ledger.status(),
    lambda ledger: [ledger.members(island) for island in range(2)],
    lambda ledger: (ledger.settings, ledger.options),
)


@pytest.mark.parametrize("sql", (*ROWS, *FACTS), ids=lambda sql: sql[:70])
def test_an_older_run_without_digests_is_read_or_refused(
    run: Path, tmp_path: Path, sql: str
) -> None:
    copy = edited(run, tmp_path, sql)
    with sqlite3.connect(copy / FILE) as connection:
        connection.execute("UPDATE facts SET value = '\"emqlang-run-1\"' WHERE name = 'format'")
        connection.execute("DELETE FROM facts WHERE name = 'digest'")
    for read in READ:
        try:
            ledger = Ledger(copy, read_only=True)
            assert [record.code for record in ledger.diagnostics] == ["W610"]
            read(ledger)
        except EmqError as refused:
            assert refused.diagnostics[0].code in ("E316", "E403")


def test_numbers_of_any_size(run: Path) -> None:
    ledger = Ledger(run, read_only=True)
    assert top(ledger, 10**21) == top(ledger, 10**6)
    for number in (10**21, -(10**21), 0):
        for read in (entry, lineage):
            with pytest.raises(EmqError) as refused:
                read(ledger, number)
            assert refused.value.diagnostics[0].code == "E403"
