"""One run on disk: a folder with a SQLite file, committed step by step, so that no kill loses one.

Programs are numbered in the order of step, island and proposal: the same for any number of workers.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from emqlang.evolve.archive import Archive
from emqlang.evolve.candidate import Candidate, Member, StepResult
from emqlang.evolve.reasons import Reason
from emqlang.evolve.settings import EvaluationOptions, SearchSettings
from emqlang.grammar.diagnostics import Diagnostic, EmqError, error
from emqlang.store import Database, Kind, is_folder

FILE = "run.sqlite"
# A population: numbers of programs, their fitness in it, and their genotypes.
Population = list[tuple[int, float, str]]
Exchange = Callable[[list[Population]], list[Population]]
Settings = TypeVar("Settings", SearchSettings, EvaluationOptions)

_SCHEMA = """
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
    cost INTEGER NOT NULL,        -- class of the most expensive statistic
    fitness REAL,
    rho TEXT,                     -- Spearman's correlation per benchmark and ratio, as JSON
    fingerprint BLOB,
    reason TEXT NOT NULL,         -- why it does not count; '' if it was scored
    same INTEGER,                 -- the program that has the same scores
    repeats INTEGER NOT NULL DEFAULT 0,
    digest BLOB                   -- of the run's facts and the row, here and below
);
CREATE INDEX by_fitness ON programs (fitness);
CREATE INDEX by_opposite ON programs (opposite);
CREATE INDEX by_fingerprint ON programs (fingerprint);
CREATE INDEX without_digest ON programs (id) WHERE digest IS NULL;
CREATE TABLE steps (
    step INTEGER NOT NULL, island INTEGER NOT NULL,
    evaluated INTEGER NOT NULL, best REAL, median REAL, funnel TEXT NOT NULL,
    digest BLOB,
    PRIMARY KEY (step, island)
);
CREATE TABLE variants (           -- other graphs of the same program
    id INTEGER PRIMARY KEY, program INTEGER NOT NULL, genotype TEXT NOT NULL,
    digest BLOB
);
CREATE TABLE populations (
    island INTEGER PRIMARY KEY, step INTEGER NOT NULL, members TEXT NOT NULL, digest BLOB
);
CREATE TABLE times (
    step INTEGER PRIMARY KEY, seconds REAL NOT NULL, memory INTEGER NOT NULL,
    programs INTEGER NOT NULL,    -- and variants: how many there are after the step
    variants INTEGER NOT NULL,
    digest BLOB
);
"""


# What version 2 has and version 1 had not. Variants have no step, and only the last count is read.
_UPGRADE = """
ALTER TABLE programs ADD COLUMN digest BLOB;
ALTER TABLE steps ADD COLUMN digest BLOB;
ALTER TABLE variants ADD COLUMN digest BLOB;
ALTER TABLE populations ADD COLUMN digest BLOB;
ALTER TABLE times ADD COLUMN programs INTEGER NOT NULL DEFAULT 0;
ALTER TABLE times ADD COLUMN variants INTEGER NOT NULL DEFAULT 0;
ALTER TABLE times ADD COLUMN digest BLOB;
CREATE INDEX without_digest ON programs (id) WHERE digest IS NULL;
UPDATE times SET variants = (SELECT count(*) FROM variants),
    programs = (SELECT count(*) FROM programs WHERE programs.step <= times.step);
"""
UNSEALED = "unsealed"  # the fact that says which version without digests a run was begun by


@dataclass(frozen=True)
class Status:
    """Where a run stands after a step, on all islands. `funnel` counts proposals by reason."""

    step: int
    evaluated: int
    best: float
    median: float
    funnel: Mapping[str, int]

    def line(self, speed: float, text: str = "") -> str:
        """One line for a progress display.

        speed  in evaluated programs per second
        text   of the best program
        """
        proposals = sum(self.funnel.values())
        shares = [
            f"{reason.value.replace('_', ' ')} {self.funnel[reason.value] / proposals:.0%}"
            for reason in Reason
            if reason is not Reason.SCORED and self.funnel.get(reason.value, 0) / proposals >= 0.01
        ]
        best = f"best {self.best:.4f}{f': {text}' if text else ''}"
        return f"{best}; median {self.median:.4f}, {speed:.0f}/s; {', '.join(shares)}"


class Ledger(Database):
    """An open run."""

    KIND = Kind(
        "run",
        "emqlang-run-2",
        "E316",
        _SCHEMA,
        hints=("`emqlang evolve --out FOLDER` begins one",),
        sealed=("programs", "steps", "variants", "populations", "times"),
        older=("emqlang-run-1",),
    )

    def __init__(self, place: Path, *, read_only: bool = False, check: bool = True) -> None:
        """Opens the run in a folder. Raises E301, and E316 for one that was edited.

        check  whether every row is compared with its digest
        """
        path = place / FILE if is_folder(place) else place
        super().__init__(path, read_only=read_only)
        if check:
            self.check()

    @classmethod
    def create(cls, folder: Path, facts: Mapping[str, Any]) -> Ledger:
        """A new run. Raises E301 where the folder holds one already, or cannot be written."""
        path = folder / FILE
        if path.exists():
            help = "resume it with --resume, or give another --out"
            raise error("E301", "the folder holds a run already", help, path=str(folder))
        return cls.write(path, facts)

    @property
    def folder(self) -> Path:
        return self.path.parent

    @cached_property
    def settings(self) -> SearchSettings:
        return self._record("settings", SearchSettings)

    @cached_property
    def options(self) -> EvaluationOptions:
        return self._record("judged", EvaluationOptions)

    def _record(self, name: str, kind: type[Settings]) -> Settings:
        try:
            with self.decoding():
                return kind.from_dict(self.facts[name])
        except EmqError as reason:
            message = f"the run's {name} cannot be used: {reason.diagnostics[0].message}"
            raise error("E316", message, "begin a new one", path=str(self.path)) from reason

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """W610 for a run of an older version, of which nobody can say whether it was edited."""
        if self.sealed and UNSEALED not in self.facts:
            return ()
        message = "the run was begun by an older version: whether it was edited cannot be told"
        return (Diagnostic("W610", message, path=str(self.path)),)

    def upgraded(self) -> Ledger:
        """The run in this version's format, in place: from now on its rows carry digests."""
        if self.sealed:
            return self
        self.upgrade(_UPGRADE, {UNSEALED: self.facts["format"]})
        self.close()
        return Ledger(self.path)

    def check(self) -> None:
        """Raises E316 if the file is damaged, or anything was edited, removed or added."""
        super().check()
        if not self.sealed:
            return
        steps, islands = self.next_step(), self.settings.islands
        query = "SELECT programs, variants FROM times ORDER BY step DESC LIMIT 1"
        programs, variants = next(iter(self.select(query)), (0, 0))
        expected = {
            "programs": programs,
            "variants": variants,
            "steps": steps * islands,
            "populations": islands if steps else 0,
            "times": steps,
        }
        for table, count in expected.items():
            ((rows,),) = self.select(f"SELECT count(*) FROM {table}")
            if rows != count:
                message = f"the run has {rows:,} {table} where {count:,} were written"
                raise error("E316", message, path=str(self.path))

    def next_step(self) -> int:
        """How many steps are finished."""
        ((last,),) = self.select("SELECT max(step) FROM steps")
        return 0 if last is None else int(last) + 1

    def members(self, island: int) -> list[Member]:
        """The population that an island ended its last step with."""
        rows = self.select("SELECT members FROM populations WHERE island = ?", (island,))
        with self.decoding():
            population: Population = json.loads(rows[0][0]) if rows else []
            return [self._member(*member) for member in population]

    def _member(self, number: int, fitness: float, genotype: str) -> Member:
        ((nodes, cost),) = self.select("SELECT nodes, cost FROM programs WHERE id = ?", (number,))
        return Member(number, genotype, fitness, nodes, cost)

    def genotypes(self, archive: Archive) -> Iterator[str]:
        """Those committed since the archive was extended: other graphs first, then programs."""
        query = "SELECT id, genotype FROM {} WHERE id > ? ORDER BY id"
        for number, genotype in self.select(query.format("variants"), (archive.last_variant,)):
            archive.last_variant = number
            yield genotype
        for _, genotype in self.select(query.format("programs"), (archive.last,)):
            yield genotype

    def extend(self, archive: Archive) -> Archive:
        """The archive with all that has been committed since it was last extended."""
        names = "id, key, opposite, fingerprint, reason, nodes"
        query = f"SELECT {names} FROM programs WHERE id > ? ORDER BY id"
        rows = self.select(query, (archive.last,))
        for number, key, opposite, fingerprint, reason, nodes in rows:
            archive.add(number, key, fingerprint if reason == Reason.SCORED else b"", nodes)
            if opposite:
                archive.keys.setdefault(opposite, number)
        return archive

    def commit(
        self,
        step: int,
        results: Sequence[StepResult],
        exchange: Exchange,
        seconds: float,
        memory: int,
    ) -> None:
        """One step of all islands, at once. `exchange` is the migration between populations."""
        with self.transaction() as connection:
            write = _Writer(connection, step)
            populations = [write.island(island, result) for island, result in enumerate(results)]
            for island, members in enumerate(exchange(populations)):
                row = (island, step, json.dumps(members))
                connection.execute("INSERT OR REPLACE INTO populations VALUES (?, ?, ?, NULL)", row)
            connection.execute(
                "INSERT INTO times SELECT ?, ?, ?, (SELECT count(*) FROM programs), "
                "(SELECT count(*) FROM variants), NULL",
                (step, seconds, memory),
            )

    def status(self) -> Status | None:
        """Where the run stands; None before its first step."""
        query = "SELECT step, evaluated, best, median, funnel FROM steps ORDER BY step"
        rows = self.select(query)
        with self.decoding():
            return _status(rows) if rows else None


def _status(rows: Sequence[tuple[Any, ...]]) -> Status:
    """Of rows of `steps`."""
    last, funnel = rows[-1][0], Counter[str]()
    for *_, counts in rows:
        funnel.update(json.loads(counts))
    bests = [best for step, _, best, _, _ in rows if step == last and best is not None]
    medians = sorted(row[3] for row in rows if row[0] == last and row[3] is not None)
    return Status(
        last,
        sum(row[1] for row in rows),
        max(bests, default=math.nan),
        medians[len(medians) // 2] if medians else math.nan,
        funnel,
    )


class _Writer:
    """Writes one step inside its transaction."""

    def __init__(self, connection: sqlite3.Connection, step: int) -> None:
        self.connection, self.step = connection, step

    def island(self, island: int, result: StepResult) -> Population:
        """What an island did; returns its population under the programs' final numbers."""
        numbers = [self._program(island, candidate) for candidate in result.candidates]
        self.connection.executemany(
            "UPDATE programs SET repeats = repeats + ?, digest = NULL "
            "WHERE key = ? OR opposite = ?",
            [(times, key, key) for key, times in result.repeats.items()],
        )
        self.connection.executemany(
            "INSERT INTO variants (program, genotype) SELECT id, ? FROM programs WHERE key = ?",
            [(genotype, key) for key, genotype in result.variants],
        )
        members = [
            (number if number > 0 else numbers[-1 - number], fitness, genotype)
            for number, fitness, genotype in result.members
        ]
        fitness = sorted(value for _, value, _ in members)
        best, median = (fitness[-1], fitness[len(fitness) // 2]) if fitness else (None, None)
        funnel = json.dumps(dict(sorted(result.funnel.items())))
        row = (self.step, island, result.evaluated, best, median, funnel)
        self.connection.execute("INSERT INTO steps VALUES (?, ?, ?, ?, ?, ?, NULL)", row)
        return members

    def _program(self, island: int, candidate: Candidate) -> int:
        """The number of a candidate, which another island may have had first in this step."""
        number = self._number("SELECT id FROM programs WHERE key = ?", candidate.key)
        if number is not None:
            query = "UPDATE programs SET repeats = repeats + 1, digest = NULL WHERE id = ?"
            self.connection.execute(query, (number,))
            return number
        row = {
            "key": candidate.key,
            "opposite": candidate.opposite or None,
            "text": candidate.text,
            "genotype": candidate.genotype,
            "operator": candidate.operator,
            "parents": json.dumps(candidate.parents),
            "island": island,
            "step": self.step,
            "nodes": candidate.nodes,
            "cost": candidate.cost,
            "fitness": None if math.isnan(candidate.fitness) else candidate.fitness,
            "rho": json.dumps(candidate.rho) if candidate.rho else None,
            "fingerprint": candidate.fingerprint or None,
            "reason": candidate.reason.value,
            "same": self._same(candidate),
        }
        places = ", ".join("?" * len(row))
        query = f"INSERT INTO programs ({', '.join(row)}) VALUES ({places})"
        number = self.connection.execute(query, tuple(row.values())).lastrowid
        assert number is not None
        return number

    def _same(self, candidate: Candidate) -> int | None:
        """The first program that has these scores."""
        if candidate.reason is not Reason.SAME_SCORES:
            return None
        query = "SELECT min(id) FROM programs WHERE fingerprint = ? AND reason = ''"
        return self._number(query, candidate.fingerprint)

    def _number(self, query: str, value: bytes) -> int | None:
        row = self.connection.execute(query, (value,)).fetchone()
        return None if row is None or row[0] is None else int(row[0])
