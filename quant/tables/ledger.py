"""A table while it is built: one SQLite file, committed row by row, so that no kill loses one.

Every row and every rerun carries a digest over the table's facts and its own values, so that an
edited file is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emqlang.grammar.diagnostics import error
from emqlang.quant.tables.measurement import Measurement
from emqlang.quant.tables.spec import Spec
from emqlang.store import Database, Kind

if TYPE_CHECKING:
    from torch import Tensor

TABLE = ""  # the name under which the table's own measurements stand, beside those of reruns

_SCHEMA = """
CREATE TABLE configurations (
    id INTEGER PRIMARY KEY,        -- in the order in which they were drawn
    choices TEXT NOT NULL UNIQUE,  -- indices of the menu, one per group: 2,0,1
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
    marks BLOB,                    -- one bit per image, most significant first: right or wrong
    seconds REAL,
    saved REAL,
    digest BLOB NOT NULL,
    PRIMARY KEY (run, id)
);
CREATE TABLE reruns (run TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE roundings (
    unit TEXT NOT NULL, combination TEXT NOT NULL, codes BLOB NOT NULL,
    PRIMARY KEY (unit, combination)
);
"""


@dataclass(frozen=True)
class Row:
    """A configuration of a table and what it costs."""

    id: int
    choices: tuple[int, ...]
    search: bool
    size: int
    bops: int


@dataclass(frozen=True)
class _Rerun:
    """What a rerun did differently; how many rows it has, once it is finished; and a digest.

    Those of older versions are the changes alone.
    """

    changes: dict[str, Any]
    rows: int | None = None
    digest: str = ""
    sealed: bool = True

    @classmethod
    def of(cls, value: Any) -> _Rerun:
        """Raises ValueError, TypeError, KeyError for anything else."""
        if not isinstance(value, dict):
            raise TypeError("a rerun is not an object")
        if "changes" not in value:
            return cls(value, sealed=False)
        changes, rows = dict(value["changes"]), value["rows"]
        return cls(changes, None if rows is None else int(rows), str(value["digest"]))


class Ledger(Database):
    """An open table."""

    KIND = Kind("benchmark table", "emqlang-table-1", "E314", _SCHEMA)

    @classmethod
    def create(cls, path: Path, facts: Mapping[str, Any], rows: Iterable[Row]) -> Ledger:
        """A new table without measurements. Raises E301 where it cannot be written."""
        values = [(row.id, _text(row.choices), row.search, row.size, row.bops) for row in rows]
        query = "INSERT INTO configurations VALUES (?, ?, ?, ?, ?)"
        return cls.write(path, facts, lambda connection: connection.executemany(query, values))

    @property
    def spec(self) -> Spec:
        with self.decoding():
            return Spec.from_dict(self.facts["spec"])

    @property
    def images(self) -> int:
        """Test images of the table."""
        with self.decoding():
            return int(self.facts.get("images", 0))

    def rows(self) -> list[Row]:
        """All configurations, in the order in which they were drawn. Raises E314."""
        query = "SELECT id, choices, search, size, bops FROM configurations ORDER BY id"
        rows = self.select(query)
        with self.decoding():
            return [
                Row(i, tuple(map(int, choices.split(","))), bool(search), size, bops)
                for i, choices, search, size, bops in rows
            ]

    def measured(self, run: str = TABLE) -> dict[int, Measurement]:
        """Measurements so far by row, the table's or a rerun's. Raises E314 if one was edited."""
        names = "id, accuracy, loss, agreement, marks, seconds, saved, digest"
        rows = self.select(f"SELECT {names} FROM measurements WHERE run = ?", (run,))
        with self.decoding():
            return {row: self._checked(run, row, *values) for row, *values in rows}

    def _checked(self, run: str, row: int, *columns: Any) -> Measurement:
        *values, digest = columns
        if digest != self._digest(run, row, *values):
            message = f"row {row} was edited, or belongs to another table"
            raise error("E314", message, path=str(self.path))
        accuracy, loss, agreement, marks, seconds, saved = values
        right = None
        if marks is not None:
            bits = np.unpackbits(np.frombuffer(marks, np.uint8), count=self.images)
            right = bits.astype(bool)
        return Measurement(accuracy, loss, agreement, right, seconds, saved)

    def record(self, row: int, measurement: Measurement, run: str = TABLE) -> None:
        """Commits one measurement. Raises E301 where it cannot be written."""
        one = measurement
        marks = None if one.right is None else np.packbits(one.right).tobytes()
        values = (one.accuracy, one.loss, one.agreement, marks, one.seconds, one.saved)
        with self.transaction() as connection:
            connection.execute(
                "INSERT INTO measurements VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (run, row, *values, self._digest(run, row, *values)),
            )

    @cached_property
    def _key(self) -> bytes:
        """A digest of the facts and configurations that measurements are about."""
        rows = [[row.id, row.choices, row.search, row.size, row.bops] for row in self.rows()]
        text = json.dumps([self.facts, rows], sort_keys=True)
        return blake2b(text.encode(), digest_size=16).digest()

    def _digest(self, run: str, row: int, *values: Any) -> bytes:
        plain = [value.hex() if isinstance(value, bytes) else value for value in values]
        text = json.dumps([*self._about(run), row, *plain])
        return blake2b(text.encode(), key=self._key, digest_size=16).digest()

    def reruns(self) -> dict[str, dict[str, Any]]:
        """Names of reruns, and what each did differently. Raises E314 for one that was edited."""
        return {run: each.changes for run, each in self._reruns().items()}

    def _reruns(self) -> dict[str, _Rerun]:
        rows = self.select("SELECT run, value FROM reruns")
        with self.decoding():
            reruns = {run: _Rerun.of(json.loads(value)) for run, value in rows}
        for run, each in reruns.items():
            if each.sealed and each.digest != self._seal(run, each):
                message = f"the rerun '{run}' was edited, or belongs to another table"
                raise error("E314", message, path=str(self.path))
        return reruns

    def _about(self, run: str) -> list[Any]:
        """What a measurement's digest says of its run: the name, and of a rerun what it changed.

        Reruns of older versions have the name alone.
        """
        if run == TABLE:
            return [run]
        rerun = self._reruns().get(run, _Rerun({}))
        return [run, rerun.changes] if rerun.sealed else [run]

    def _seal(self, run: str, rerun: _Rerun) -> str:
        text = json.dumps([run, rerun.changes, rerun.rows], sort_keys=True)
        return blake2b(text.encode(), key=self._key, digest_size=16).hexdigest()

    def add_rerun(self, run: str, changes: Mapping[str, Any]) -> None:
        """Notes a rerun before it is measured. Raises E315 if its name did something else."""
        known = self.reruns()
        if known.get(run, changes) != changes:
            message = f"the table has a rerun '{run}' that did something else"
            raise error("E315", message, "give it another --name")
        if run not in known:
            self._note(run, dict(changes), None)

    def finish_rerun(self, run: str) -> None:
        """Notes how many rows a rerun has, so that none can be taken from it."""
        rerun = self._reruns()[run]
        if rerun.sealed:
            self._note(run, rerun.changes, len(self.measured(run)))

    def _note(self, run: str, changes: dict[str, Any], rows: int | None) -> None:
        digest = self._seal(run, _Rerun(changes, rows))
        value = json.dumps({"changes": changes, "rows": rows, "digest": digest})
        with self.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO reruns VALUES (?, ?)", (run, value))

    def roundings(self) -> dict[tuple[str, str], dict[str, Tensor]]:
        """What a composed table has learned so far, by unit and combination of choices.

        One that was edited or damaged is left out, to be learned again.
        """
        from emqlang.quant import sealed  # torch takes a second, and tables are read without

        found = {}
        for unit, combination, codes in self.select("SELECT * FROM roundings"):
            with suppress(ValueError, TypeError):
                found[unit, combination] = sealed.unpack(codes, self._rounding(unit, combination))
        return found

    def add_rounding(self, unit: str, combination: str, codes: Mapping[str, Tensor]) -> None:
        """Commits what was learned of one unit under one combination."""
        from emqlang.quant import sealed

        parts = {name: tensor.cpu().contiguous() for name, tensor in codes.items()}
        values = (unit, combination, sealed.pack(parts, self._rounding(unit, combination)))
        with self.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO roundings VALUES (?, ?, ?)", values)

    def _rounding(self, unit: str, combination: str) -> dict[str, str]:
        """What a rounding is of."""
        return {"table": self._key.hex(), "unit": unit, "combination": combination}

    def drop_roundings(self) -> None:
        """Forgets what was learned: it can be learned again, and a finished table does without."""
        with self.transaction() as connection:
            connection.execute("DELETE FROM roundings")
        self.select("VACUUM")

    def check(self) -> None:
        """Raises E314 if the file is damaged, or lacks rows of a rerun."""
        super().check()
        query = "SELECT run, count(*) FROM measurements WHERE run != '' GROUP BY run"
        counts, reruns = dict(self.select(query)), self._reruns()
        for run in counts.keys() - reruns.keys():
            message = f"measurements of '{run}' are of no rerun that the table has"
            raise error("E314", message, path=str(self.path))
        for run, rerun in reruns.items():
            if counts.get(run, 0) < (rerun.rows or 0):
                message = f"the rerun '{run}' has {counts.get(run, 0)} of its {rerun.rows} rows"
                raise error("E314", message, path=str(self.path))


def _text(choices: Sequence[int]) -> str:
    return ",".join(map(str, choices))
