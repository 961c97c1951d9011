"""One run on disk: a folder with a SQLite file, committed once a step, so that a kill at any moment leaves a run that goes on.

Programs are numbered in the order of step, island and proposal: the same numbers for any number of workers.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emqlang.evolve.archive import Archive
from emqlang.evolve.candidate import Candidate, Member, Outcome
from emqlang.evolve.reasons import Reason
from emqlang.evolve.settings import Settings
from emqlang.grammar.diagnostics import error

FORMAT = "emqlang-run-1"
Ranked = list[
    tuple[int, float, str]
]  # a population: numbers of programs, their fitness in it, and their genotypes
Exchange = Callable[[list[Ranked]], list[Ranked]]
FILE = "run.sqlite"

_SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE programs (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,     -- canonical key of the elaborated program
    opposite BLOB,                -- its negative's, if it was scored
    text TEXT NOT NULL,           -- as built
    genotype TEXT NOT NULL,
    operator TEXT NOT NULL,
    parents TEXT NOT NULL,        -- ids, as JSON
    island INTEGER NOT NULL,
    step INTEGER NOT NULL,
    nodes INTEGER NOT NULL,
    cost INTEGER NOT NULL,        -- class of the dearest statistic
    fitness REAL,
    rho TEXT,                     -- Spearman's correlation a court and ratio, as JSON
    fingerprint BLOB,
    reason TEXT NOT NULL,         -- why it does not count; '' if it was scored
    same INTEGER,                 -- whose scores it has
    repeats INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX by_fitness ON programs (fitness);
CREATE INDEX by_opposite ON programs (opposite);
CREATE INDEX by_fingerprint ON programs (fingerprint);
CREATE TABLE steps (
    step INTEGER NOT NULL, island INTEGER NOT NULL, evaluated INTEGER NOT NULL, best REAL, median REAL, funnel TEXT NOT NULL,
    PRIMARY KEY (step, island)
);
CREATE TABLE variants (id INTEGER PRIMARY KEY, program INTEGER NOT NULL, genotype TEXT NOT NULL);  -- other graphs, same program
CREATE TABLE populations (island INTEGER PRIMARY KEY, step INTEGER NOT NULL, members TEXT NOT NULL);
CREATE TABLE times (step INTEGER PRIMARY KEY, seconds REAL NOT NULL, memory INTEGER NOT NULL);
"""


@dataclass(frozen=True)
class Progress:
    """Of all islands together, up to a step."""

    step: int
    evaluated: int
    scored: int
    best: float
    median: float
    funnel: Mapping[str, int]


class Ledger:
    """An open run."""

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        self.folder, self._connection = folder, connection
        self._numbers: dict[bytes, int] | None = None

    @property
    def path(self) -> Path:
        return self.folder / FILE

    @classmethod
    def create(cls, folder: Path, facts: Mapping[str, Any]) -> Ledger:
        """A new run. Raises E301 where the folder holds one already, or cannot be written."""
        path = folder / FILE
        if path.exists():
            raise error(
                "E301",
                "the folder holds a run already",
                "go on with --resume, or give another --out",
                path=str(folder),
            )
        part = folder / f".{FILE}.part"
        with refused(folder):
            folder.mkdir(parents=True, exist_ok=True)
            part.unlink(missing_ok=True)
            connection = sqlite3.connect(part)
            connection.executescript(_SCHEMA)
            with connection:
                given = {**facts, "format": FORMAT}
                connection.executemany(
                    "INSERT INTO facts VALUES (?, ?)",
                    [(k, json.dumps(v)) for k, v in given.items()],
                )
            connection.close()
            part.replace(path)
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path, *, read_only: bool = False) -> Ledger:
        """A run to go on with, or to read. Raises E301, E316."""
        path = folder / FILE if folder.is_dir() else folder
        if not path.is_file():
            raise error(
                "E301",
                "there is no run",
                "`emqlang evolve --out FOLDER` begins one",
                path=str(folder),
            )
        with refused(folder):
            mode = "ro" if read_only else "rw"
            connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=60
            )
            ledger = cls(path.parent, connection)
            if ledger.facts().get("format") != FORMAT:
                raise error(
                    "E316",
                    "the run was begun by another version",
                    "begin a new one",
                    path=str(folder),
                )
        return ledger

    def close(self) -> None:
        self._connection.close()

    def facts(self) -> dict[str, Any]:
        """Settings, hashes and versions."""
        with refused(self.folder):
            return {
                name: json.loads(value)
                for name, value in self._connection.execute("SELECT name, value FROM facts")
            }

    @property
    def settings(self) -> Settings:
        return Settings.from_dict(self.facts()["settings"])

    def next_step(self) -> int:
        """How many steps are finished."""
        with refused(self.folder):
            (last,) = self._connection.execute("SELECT max(step) FROM steps").fetchone()
        return 0 if last is None else last + 1

    def members(self, island: int) -> list[Member]:
        """The population that an island ended its last step with."""
        with refused(self.folder):
            found = self._connection.execute(
                "SELECT members FROM populations WHERE island = ?", (island,)
            ).fetchone()
            ranked: Ranked = json.loads(found[0]) if found else []
            return [self._member(*entry) for entry in ranked]

    def _member(self, number: int, fitness: float, genotype: str) -> Member:
        nodes, cost = self._connection.execute(
            "SELECT nodes, cost FROM programs WHERE id = ?", (number,)
        ).fetchone()
        return Member(number, genotype, fitness, nodes, cost)

    def genotypes(self, archive: Archive) -> Iterator[str]:
        """Those that have been committed since: programs', and of other graphs that are the same programs."""
        with refused(self.folder):
            found = self._connection.execute(
                "SELECT id, genotype FROM programs WHERE id > ? ORDER BY id", (archive.last,)
            ).fetchall()
            others = self._connection.execute(
                "SELECT id, genotype FROM variants WHERE id > ? ORDER BY id",
                (archive.last_variant,),
            )
            for number, genotype in others:
                archive.last_variant = number
                yield genotype
            yield from (genotype for _, genotype in found)

    def extend(self, archive: Archive) -> Archive:
        """The archive with all that has been committed since it was last extended."""
        with refused(self.folder):
            query = "SELECT id, key, opposite, fingerprint, reason FROM programs WHERE id > ? ORDER BY id"
            for number, key, opposite, fingerprint, reason in self._connection.execute(
                query, (archive.last,)
            ):
                archive.add(number, key, fingerprint if reason == Reason.SCORED else b"")
                if opposite:
                    archive.keys.setdefault(opposite, number)
        return archive

    def commit(
        self,
        step: int,
        outcomes: Sequence[Outcome],
        exchange: Exchange,
        seconds: float,
        memory: int,
    ) -> None:
        """Everything of one step of all islands, at once; `exchange` is what migration makes of their populations."""
        with refused(self.folder), self._connection:
            populations = [
                self._island(step, island, outcome) for island, outcome in enumerate(outcomes)
            ]
            rows = [
                (island, step, json.dumps(members))
                for island, members in enumerate(exchange(populations))
            ]
            self._connection.executemany(
                "INSERT OR REPLACE INTO populations VALUES (?, ?, ?)", rows
            )
            self._connection.execute("INSERT INTO times VALUES (?, ?, ?)", (step, seconds, memory))

    def _island(self, step: int, island: int, outcome: Outcome) -> Ranked:
        numbers = [self._program(step, island, candidate) for candidate in outcome.candidates]
        self._repeats(outcome.repeats)
        variants = [(genotype, key) for key, genotype in outcome.variants]
        self._connection.executemany(
            "INSERT INTO variants (program, genotype) SELECT id, ? FROM programs WHERE key = ?",
            variants,
        )
        members = [
            (number if number > 0 else numbers[-1 - number], fitness, genes)
            for number, fitness, genes in outcome.members
        ]
        fitness = sorted(value for _, value, _ in members)
        best, median = (fitness[-1], fitness[len(fitness) // 2]) if fitness else (None, None)
        row = (
            step,
            island,
            outcome.evaluated,
            best,
            median,
            json.dumps(dict(sorted(outcome.funnel.items()))),
        )
        self._connection.execute("INSERT INTO steps VALUES (?, ?, ?, ?, ?, ?)", row)
        return members

    def _program(self, step: int, island: int, candidate: Candidate) -> int:
        """The number of a candidate: a new one, or that of the island that was first in this step."""
        known = self._connection.execute(
            "SELECT id FROM programs WHERE key = ?", (candidate.key,)
        ).fetchone()
        if known:
            self._connection.execute(
                "UPDATE programs SET repeats = repeats + 1 WHERE id = ?", known
            )
            return int(known[0])
        fitness = None if math.isnan(candidate.fitness) else candidate.fitness
        values = (
            candidate.key, candidate.opposite or None, candidate.text, candidate.genotype, candidate.operator,
            json.dumps(candidate.parents), island, step, candidate.nodes, candidate.cost, fitness,
            json.dumps(candidate.rho) if candidate.rho else None, candidate.fingerprint or None, candidate.reason.value,
            self._same(candidate),
        )  # fmt: skip
        names = "key, opposite, text, genotype, operator, parents, island, step, nodes, cost, fitness, rho, fingerprint, reason, same"
        places = ", ".join("?" * len(values))
        number = self._connection.execute(
            f"INSERT INTO programs ({names}) VALUES ({places})", values
        ).lastrowid
        assert number is not None
        return number

    def _same(self, candidate: Candidate) -> int | None:
        if candidate.reason is not Reason.SAME_SCORES:
            return None
        query = "SELECT min(id) FROM programs WHERE fingerprint = ? AND reason = ''"
        (number,) = self._connection.execute(query, (candidate.fingerprint,)).fetchone()
        return None if number is None else int(number)

    def _repeats(self, repeats: Mapping[bytes, int]) -> None:
        counted = [(times, key, key) for key, times in repeats.items()]
        self._connection.executemany(
            "UPDATE programs SET repeats = repeats + ? WHERE key = ? OR opposite = ?", counted
        )

    def select(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a query that reads."""
        with refused(self.folder):
            return self._connection.execute(query, tuple(values)).fetchall()

    def progress(self) -> Progress | None:
        """Where the run stands; None before its first step."""
        with refused(self.folder):
            rows = self._connection.execute(
                "SELECT step, evaluated, best, median, funnel FROM steps ORDER BY step"
            ).fetchall()
        if not rows:
            return None
        last = rows[-1][0]
        funnel: Counter[str] = Counter()
        for _, _, _, _, told in rows:
            funnel.update(json.loads(told))
        current = [row for row in rows if row[0] == last]
        best = max((row[2] for row in current if row[2] is not None), default=float("nan"))
        medians = sorted(row[3] for row in current if row[3] is not None)
        median = medians[len(medians) // 2] if medians else float("nan")
        return Progress(
            last, sum(row[1] for row in rows), funnel[Reason.SCORED.value], best, median, funnel
        )


@contextmanager
def refused(folder: Path) -> Iterator[None]:
    """What SQLite or the disk refuses: E316 for a file that is no run, E301 for one that cannot be read or written."""
    try:
        yield
    except sqlite3.OperationalError as reason:
        if "no such" in str(reason):
            raise error("E316", "the file is no run", path=str(folder)) from reason
        raise error("E301", f"the run cannot be used: {reason}", path=str(folder)) from reason
    except (sqlite3.DatabaseError, json.JSONDecodeError) as reason:
        raise error("E316", f"the file is no run: {reason}", path=str(folder)) from reason
    except OSError as reason:
        raise error("E301", f"the run cannot be written: {reason}", path=str(folder)) from reason
