"""A table while it is built: one SQLite file, one row committed at a time, so that a kill at any moment loses no finished row.

Every row and every rerun carries a digest over the table's facts and its own values; an edited file does not pass for a table.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load, save
from torch import Tensor

from emqlang.grammar.diagnostics import error
from emqlang.quant.tables.outcome import Marks, Outcome
from emqlang.quant.tables.spec import Spec

FORMAT = "emqlang-table-1"
TABLE = ""  # the name under which the table's own measurements stand, beside those of reruns

_SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE configurations (
    id INTEGER PRIMARY KEY,        -- in the order in which they were drawn
    choices TEXT NOT NULL UNIQUE,  -- indices of the menu, one a group: 2,0,1
    search INTEGER NOT NULL,       -- 1 if a search may see the row, 0 if it is held out
    size INTEGER NOT NULL,         -- bytes
    bops INTEGER NOT NULL
);
CREATE TABLE measurements (
    run TEXT NOT NULL,             -- '' for the table's own, else the name of a rerun
    id INTEGER NOT NULL REFERENCES configurations (id),
    accuracy REAL NOT NULL,
    loss REAL,
    agreement REAL,
    marks BLOB,                    -- a bit an image, most significant first: right or wrong
    seconds REAL,
    saved REAL,
    digest BLOB NOT NULL,
    PRIMARY KEY (run, id)
);
CREATE TABLE reruns (run TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE roundings (unit TEXT NOT NULL, combination TEXT NOT NULL, codes BLOB NOT NULL, PRIMARY KEY (unit, combination));
"""


@dataclass(frozen=True)
class Row:
    """A configuration of a table and what it costs."""

    id: int
    choices: tuple[int, ...]
    search: bool
    size: int
    bops: int


@dataclass(frozen=True, eq=False)
class Measurement:
    """What is known of a row: an imported table may know the accuracy alone."""

    accuracy: float
    loss: float | None = None
    agreement: float | None = None
    right: Marks | None = None
    seconds: float | None = None
    saved: float | None = None

    @classmethod
    def of(cls, outcome: Outcome) -> Measurement:
        return cls(
            outcome.accuracy,
            outcome.loss,
            outcome.agreement,
            outcome.right,
            outcome.seconds,
            outcome.saved,
        )


class Ledger:
    """An open table. Read-only ones may lie in a folder that cannot be written to."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path, self._connection = path, connection

    @classmethod
    def create(cls, path: Path, facts: Mapping[str, Any], rows: Iterable[Row]) -> Ledger:
        """A new table without measurements, complete or not there at all. Raises E301 where it cannot be written."""
        part = path.with_name(f".{path.name}.part")
        with _refused(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            part.unlink(missing_ok=True)
            connection = sqlite3.connect(part)
            connection.executescript(_SCHEMA)
            with connection:
                given = {**facts, "format": FORMAT}
                connection.executemany(
                    "INSERT INTO facts VALUES (?, ?)",
                    [(k, json.dumps(v)) for k, v in given.items()],
                )
                values = [
                    (row.id, _text(row.choices), row.search, row.size, row.bops) for row in rows
                ]
                connection.executemany("INSERT INTO configurations VALUES (?, ?, ?, ?, ?)", values)
            connection.close()
            part.replace(path)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Ledger:
        """A table to go on with. Raises E301, E314."""
        return cls._opened(path, "rw")

    @classmethod
    def read(cls, path: Path) -> Ledger:
        """A table to read. Raises E301, E314."""
        return cls._opened(path, "ro")

    @classmethod
    def _opened(cls, path: Path, mode: str) -> Ledger:
        if not path.is_file():
            raise error("E301", "there is no such table", path=str(path))
        with _refused(path):
            connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=60
            )
            ledger = cls(path, connection)
            if ledger.facts.get("format") != FORMAT:
                raise error(
                    "E314", "the file is no benchmark table of this version", path=str(path)
                )
        return ledger

    def close(self) -> None:
        self._connection.close()

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What the table was built from and with."""
        with _refused(self.path):
            return {
                name: json.loads(value)
                for name, value in self._connection.execute("SELECT name, value FROM facts")
            }

    @property
    def spec(self) -> Spec:
        return Spec.from_dict(self.facts["spec"])

    def rows(self) -> list[Row]:
        """All configurations, in the order in which they were drawn. Raises E314."""
        with _refused(self.path):
            found = self._connection.execute(
                "SELECT id, choices, search, size, bops FROM configurations ORDER BY id"
            )
            return [
                Row(i, tuple(map(int, choices.split(","))), bool(s), size, bops)
                for i, choices, s, size, bops in found
            ]

    def measured(self, run: str = TABLE) -> dict[int, Measurement]:
        """What has been measured so far, by row, of the table or of a rerun. Raises E314 for one that was edited."""
        names = "id, accuracy, loss, agreement, marks, seconds, saved, digest"
        with _refused(self.path):
            found = self._connection.execute(
                f"SELECT {names} FROM measurements WHERE run = ?", (run,)
            ).fetchall()
            return {row[0]: self._checked(run, *row) for row in found}

    def _checked(self, run: str, row: int, accuracy: float, *rest: Any) -> Measurement:
        *values, digest = rest
        if digest != self._digest(run, row, accuracy, *values):
            raise error(
                "E314", f"row {row} was edited, or belongs to another table", path=str(self.path)
            )
        loss, agreement, marks, seconds, saved = values
        right = (
            None
            if marks is None
            else np.unpackbits(np.frombuffer(marks, np.uint8), count=self.images).astype(bool)
        )
        return Measurement(accuracy, loss, agreement, right, seconds, saved)

    def record(self, row: int, found: Measurement, run: str = TABLE) -> None:
        """Commits one measurement. Raises E301 where it cannot be written."""
        marks = None if found.right is None else np.packbits(found.right).tobytes()
        values = (found.accuracy, found.loss, found.agreement, marks, found.seconds, found.saved)
        with _refused(self.path), self._connection:
            self._connection.execute(
                "INSERT INTO measurements VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (run, row, *values, self._digest(run, row, *values)),
            )

    @property
    def images(self) -> int:
        """Test images of the table."""
        return int(self.facts.get("images", 0))

    @cached_property
    def _key(self) -> bytes:
        """A digest of the facts and configurations that measurements are about."""
        about = [
            self.facts,
            [[row.id, row.choices, row.search, row.size, row.bops] for row in self.rows()],
        ]
        return blake2b(json.dumps(about, sort_keys=True).encode(), digest_size=16).digest()

    def _digest(self, run: str, row: int, *values: Any) -> bytes:
        told = [run, row, *(value.hex() if isinstance(value, bytes) else value for value in values)]
        return blake2b(json.dumps(told).encode(), key=self._key, digest_size=16).digest()

    def reruns(self) -> dict[str, dict[str, Any]]:
        """Names of reruns, and what each did differently."""
        with _refused(self.path):
            return {
                run: json.loads(value)
                for run, value in self._connection.execute("SELECT run, value FROM reruns")
            }

    def announce(self, run: str, value: Mapping[str, Any]) -> None:
        """Notes a rerun that is about to be measured; known ones stay as they are. Raises E315 if it did something else."""
        known = self.reruns().get(run)
        if known is not None and known != value:
            raise error(
                "E315",
                f"the table has a rerun '{run}' that did something else",
                "give it another --name",
            )
        with _refused(self.path), self._connection:
            self._connection.execute(
                "INSERT OR IGNORE INTO reruns VALUES (?, ?)", (run, json.dumps(value))
            )

    def roundings(self) -> dict[tuple[str, str], dict[str, Tensor]]:
        """What a composed table has learned so far."""
        with _refused(self.path):
            found = self._connection.execute("SELECT unit, combination, codes FROM roundings")
            return {(unit, combination): load(codes) for unit, combination, codes in found}

    def keep(self, unit: str, combination: str, codes: Mapping[str, Tensor]) -> None:
        """Commits what was learned of one unit under one combination."""
        with _refused(self.path), self._connection:
            self._connection.execute(
                "INSERT INTO roundings VALUES (?, ?, ?)", (unit, combination, save(dict(codes)))
            )

    def shed(self) -> None:
        """Lets go of what was learned: it can be learned again, and a finished table does without."""
        with _refused(self.path):
            with self._connection:
                self._connection.execute("DELETE FROM roundings")
            self._connection.execute("VACUUM")

    def check(self) -> None:
        """Raises E314 if the file itself is damaged."""
        with _refused(self.path):
            (verdict,) = self._connection.execute("PRAGMA integrity_check(1)").fetchone()
        if verdict != "ok":
            raise error("E314", f"the file is damaged: {verdict}", path=str(self.path))


@contextmanager
def _refused(path: Path) -> Iterator[None]:
    """What SQLite refuses becomes E314 for a file that is none, and E301 for one that cannot be opened or written."""
    try:
        yield
    except sqlite3.OperationalError as reason:
        if "no such" in str(reason):
            raise error("E314", "the file is no benchmark table", path=str(path)) from reason
        raise error("E301", f"the table cannot be used: {reason}", path=str(path)) from reason
    except (sqlite3.DatabaseError, json.JSONDecodeError, ValueError) as reason:
        raise error("E314", f"the file is no benchmark table: {reason}", path=str(path)) from reason
    except OSError as reason:
        raise error("E301", f"the table cannot be written: {reason}", path=str(path)) from reason


def _text(choices: Sequence[int]) -> str:
    return ",".join(map(str, choices))
