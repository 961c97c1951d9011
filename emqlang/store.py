"""Files that survive a crash: whole or not there; and databases, which keep what is committed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from secrets import token_hex
from typing import Any, ClassVar, Self

from emqlang.grammar.diagnostics import error

_FACTS = "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);"


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Writes beside `path` and renames, so that nobody ever sees half a file; makes folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{token_hex(4)}")
    try:
        write(part)
        part.chmod(0o644)  # safetensors leaves its files to the owner alone
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """The text as a UTF-8 file, written whole."""
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


@dataclass(frozen=True)
class Kind:
    """What a database holds.

    noun    what messages call it: 'run', 'benchmark table'
    format  its version, which its facts carry
    code    the error for a file of another kind or version
    schema  SQL that creates its tables, besides that of the facts
    hints   what to do where there is none
    """

    noun: str
    format: str
    code: str
    schema: str
    hints: tuple[str, ...] = ()

    @contextmanager
    def refusals(self, path: Path) -> Iterator[None]:
        """Turns what SQLite or the disk refuses into E301, or `code` for a file of another kind."""
        try:
            yield
        except sqlite3.OperationalError as reason:
            if "no such" in str(reason):
                raise error(self.code, f"the file is not a {self.noun}", path=str(path)) from reason
            message = f"the {self.noun} cannot be used: {reason}"
            raise error("E301", message, path=str(path)) from reason
        except (sqlite3.DatabaseError, ValueError) as reason:
            message = f"the file is not a {self.noun}: {reason}"
            raise error(self.code, message, path=str(path)) from reason
        except OSError as reason:
            message = f"the {self.noun} cannot be written: {reason}"
            raise error("E301", message, path=str(path)) from reason


class Database:
    """An open SQLite file: facts that say what it is about, as JSON, and rows."""

    KIND: ClassVar[Kind]

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Opens a file, which may lie in a folder that cannot be written to if it is only read.

        Raises E301 for one that is missing or unusable, the kind's own code for another file.
        """
        kind, self.path = self.KIND, path
        if not path.is_file():
            raise error("E301", f"there is no such {kind.noun}", *kind.hints, path=str(path))
        address = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rw'}"
        with self.refusals():
            self._connection = sqlite3.connect(address, uri=True, timeout=60)
        if self.facts.get("format") != kind.format:
            message = f"the file is not a {kind.noun} of this version"
            raise error(kind.code, message, path=str(path))

    @classmethod
    def write(
        cls,
        path: Path,
        facts: Mapping[str, Any],
        fill: Callable[[sqlite3.Connection], object] = lambda connection: None,
    ) -> Self:
        """A new file, with the rows that `fill` inserts. Raises E301 where it cannot be written."""
        facts = {**facts, "format": cls.KIND.format}
        rows = [(name, json.dumps(value)) for name, value in facts.items()]

        def create(part: Path) -> None:
            with closing(sqlite3.connect(part)) as connection:
                connection.executescript(_FACTS + cls.KIND.schema)
                with connection:
                    connection.executemany("INSERT INTO facts VALUES (?, ?)", rows)
                    fill(connection)

        with cls.KIND.refusals(path):
            write_atomically(path, create)
        return cls(path)

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def refusals(self) -> Iterator[None]:
        """As `Kind.refusals`, for this file."""
        with self.KIND.refusals(self.path):
            yield

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Changes that are committed together or not at all."""
        with self.refusals(), self._connection:
            yield self._connection

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What the file is about."""
        rows = self.select("SELECT name, value FROM facts")
        with self.refusals():
            return {name: json.loads(value) for name, value in rows}

    def select(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with self.refusals():
            return self._connection.execute(query, values).fetchall()
