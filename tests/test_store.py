"""Files that are whole or not there, and the database that both ledgers are."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from emqlang.grammar.diagnostics import EmqError
from emqlang.store import Database, Kind, write_atomically, write_text


class Notes(Database):
    KIND = Kind(
        "notebook", "notes-1", "E314", "CREATE TABLE notes (text TEXT NOT NULL)", ("buy one",)
    )


class Diary(Database):
    KIND = Kind("diary", "diary-1", "E316", "")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "a.notes"


def code(path: Path, kind: type[Database] = Notes) -> str:
    with pytest.raises(EmqError) as refused:
        kind(path)
    return refused.value.diagnostics[0].code


def test_a_file_that_cannot_be_finished_is_not_there(tmp_path: Path) -> None:
    def fail(part: Path) -> None:
        part.write_text("half")
        raise OSError("full")

    write_text(tmp_path / "a", "whole")
    for name in ("a", "b"):
        with pytest.raises(OSError, match="full"):
            write_atomically(tmp_path / name, fail)
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "whole"


def test_facts_and_rows(path: Path) -> None:
    facts = {"menu": [2, 3, None], "name": "größer"}
    notes = Notes.write(path, facts, lambda file: file.execute("INSERT INTO notes VALUES ('one')"))
    assert notes.facts == {**facts, "format": "notes-1"} and notes.select(
        "SELECT * FROM notes"
    ) == [("one",)]
    with notes.transaction() as connection:
        connection.execute("INSERT INTO notes VALUES (?)", ("two",))
    read = Notes(path, read_only=True)
    assert read.select("SELECT text FROM notes WHERE text > ?", ("one",)) == [("two",)]
    with pytest.raises(EmqError, match="readonly"), read.transaction() as connection:
        connection.execute("DELETE FROM notes")


def test_a_transaction_is_committed_whole_or_not_at_all(path: Path) -> None:
    notes = Notes.write(path, {})
    with pytest.raises(EmqError), notes.transaction() as connection:
        connection.execute("INSERT INTO notes VALUES ('one')")
        connection.execute("INSERT INTO notes VALUES (NULL)")
    assert notes.select("SELECT * FROM notes") == []


def test_a_file_that_cannot_be_created_leaves_nothing(path: Path) -> None:
    with pytest.raises(EmqError) as refused:
        Notes.write(path, {}, lambda file: file.execute("INSERT INTO nowhere VALUES (1)"))
    assert refused.value.diagnostics[0].code == "E314" and not list(path.parent.iterdir())
    path.parent.rmdir()
    path.parent.write_text("a file, not a folder")
    with pytest.raises(EmqError) as refused:
        Notes.write(path, {})
    assert refused.value.diagnostics[0].code == "E301"


def test_other_files_are_refused(path: Path) -> None:
    assert code(path) == "E301"
    Notes.write(path, {})
    assert code(path, Diary) == "E316"
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE facts SET value = 'no JSON'")
    assert code(path) == "E314"
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE facts")
    assert code(path) == "E314"
    path.write_text("no database")
    assert code(path) == "E314"


def test_a_folder_is_whole_or_not_there(path: Path) -> None:
    def write(part: Path, fails: bool = False) -> None:
        part.mkdir()
        (part / "a").write_text("1")
        if fails:
            raise ValueError

    with pytest.raises(ValueError):
        write_atomically(path, lambda part: write(part, fails=True))
    assert not list(path.parent.iterdir())
    write_atomically(path, write)
    assert [place.name for place in path.parent.iterdir()] == [path.name]
    assert (path / "a").read_text() == "1"
