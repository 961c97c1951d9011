"""Reruns and roundings of a table that were edited or removed."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from commands import Emq
from small_table import options

from emqlang.cli import run
from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.tables.ledger import Ledger
from emqlang.quant.tables.table import load

EDITS = (
    """UPDATE reruns SET value = '{"seed": 7}'""",
    """UPDATE reruns SET value = json_set(value, '$.changes.seed', 7)""",
    """UPDATE reruns SET value = json_set(value, '$.rows', 1)""",
    "UPDATE reruns SET value = '[1]'",
    "UPDATE reruns SET value = '{'",
    "UPDATE reruns SET run = 'other'",
    "DELETE FROM reruns",
    "DELETE FROM measurements WHERE run = 'seed1' AND id IN (1, 2)",
    "DELETE FROM measurements WHERE run = 'seed1'",
    "UPDATE measurements SET accuracy = 0.9 WHERE run = 'seed1' AND id = 1",
    "UPDATE measurements SET run = '' WHERE run = 'seed1' AND id = 100",
    "UPDATE configurations SET choices = CAST('0,0,0,0' AS BLOB) WHERE id = 1",
    "UPDATE facts SET value = '[]' WHERE name = 'groups'",
    "UPDATE facts SET value = '7' WHERE name = 'spec'",
    "DELETE FROM facts WHERE name = 'menu'",
    "ALTER TABLE facts RENAME TO f; CREATE VIEW facts AS SELECT 1 AS name, 2 AS value",
)


@pytest.fixture(scope="module")
def rerun(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A table with a rerun of four rows."""
    out = tmp_path_factory.mktemp("rerun") / "a.table"
    assert run(["bench", "build", "--out", str(out), *options(out.parent)]) == 0
    named = ("--name", "seed1", "--seed", "1", "--rows", "4")
    assert run(["bench", "rerun", str(out), *named]) == 0
    yield out


def test_a_rerun_is_read_and_goes_on(rerun: Path, tmp_path: Path, emq: Emq) -> None:
    copy = Path(shutil.copy(rerun, tmp_path / "a.table"))
    for rows in (4, 6):
        named = ("--name", "seed1", "--seed", "1", "--rows", str(rows))
        assert emq("bench", "rerun", str(copy), *named).status == 0
        (found,) = load(str(copy)).reruns
        assert len(found.rows) == rows and found.changed == {"seed": 1}
    other = emq("bench", "rerun", str(copy), "--name", "seed1", "--seed", "2")
    assert other.status == 3 and "E315" in other.err


@pytest.mark.parametrize("sql", EDITS, ids=lambda sql: sql[:60])
def test_an_edited_table_is_refused(rerun: Path, tmp_path: Path, emq: Emq, sql: str) -> None:
    copy = Path(shutil.copy(rerun, tmp_path / "a.table"))
    with sqlite3.connect(copy) as connection:
        before = connection.total_changes
        connection.executescript(sql)
    assert before == 0
    changed = "run = ''" not in sql
    for command in ("validate", "info", "show"):
        done = emq("bench", command, str(copy))
        assert done.status == (3 if changed else 0), done.err
        assert not changed or "E314" in done.err


def test_roundings_that_were_edited_are_learned_again(rerun: Path, tmp_path: Path) -> None:
    ledger = Ledger(Path(shutil.copy(rerun, tmp_path / "a.table")))
    codes = {"0": torch.arange(6, dtype=torch.uint8).reshape(2, 3)}
    for unit in "abc":
        ledger.add_rounding(unit, "4", codes)
    assert set(ledger.roundings()) == {("a", "4"), ("b", "4"), ("c", "4")}
    with ledger.transaction() as connection:
        connection.execute("UPDATE roundings SET unit = 'd' WHERE unit = 'a'")
        ((data,),) = connection.execute("SELECT codes FROM roundings WHERE unit = 'b'")
        flipped = data[:-1] + bytes([data[-1] ^ 1])
        connection.execute("UPDATE roundings SET codes = ? WHERE unit = 'b'", (flipped,))
    assert set(ledger.roundings()) == {("c", "4")}
    ledger.add_rounding("b", "4", codes)
    assert torch.equal(ledger.roundings()["b", "4"]["0"], codes["0"])


def test_a_path_that_cannot_be_is_no_table() -> None:
    for text in ("a" * 300, "a\0b", "x" * 10_000):
        with pytest.raises(EmqError) as refused:
            load(text)
        assert refused.value.diagnostics[0].code == "E301"
