"""Files that survive a crash: whole or not there; and databases, which keep what is committed."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from glob import escape
from hashlib import blake2b
from pathlib import Path
from secrets import token_hex
from typing import Any, ClassVar, Self

from emqlang.grammar.diagnostics import error

_FACTS = "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);"


def is_file(path: Path | str) -> bool:
    """Whether there is such a file; False for a path that cannot be one, such as a long text."""
    return os.path.isfile(path)  # noqa: PTH113  (Path.is_file raises for those)


def is_folder(path: Path | str) -> bool:
    """As `is_file`."""
    return os.path.isdir(path)  # noqa: PTH112


def as_path(path: str | Path) -> Path:
    """A path as users of the Python API give it. Raises E301 for what is none."""
    if not isinstance(path, str | os.PathLike):
        raise error("E301", f"a path is a text or a Path, and this is a {type(path).__name__}")
    return Path(path)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what the disk refuses into E301."""
    try:
        yield
    except OSError as reason:
        message = f"the file cannot be written: {(reason.strerror or str(reason)).lower()}"
        raise error("E301", message, "give another place", path=str(path)) from reason


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Writes beside `path` and renames, so that nobody ever sees half a file; makes folders.

    What is written may be a folder too. A folder that is there already is put aside, and removed
    when the other has its place.

    Where `path` is a link, what it points to is written. What others left behind that were killed
    while they wrote the same file is removed.
    """
    path = path.resolve() if path.is_symlink() else path
    path.parent.mkdir(parents=True, exist_ok=True)
    stem = os.fsencode(path.name)[:150].decode(errors="ignore")
    _sweep(path.parent, stem)
    part = path.with_name(f".{stem}.{os.getpid()}.{token_hex(4)}.part")
    try:
        write(part)
        if not part.is_dir():
            part.chmod(0o644)  # safetensors leaves its files to the owner alone
        if path.is_dir():
            _exchange(part, path)
        else:
            part.replace(path)
    finally:
        _remove(part)


def _exchange(part: Path, folder: Path) -> None:
    """Puts `part` in a folder's place, and removes the folder; it comes back if that fails."""
    aside = part.with_suffix(".replaced")
    folder.replace(aside)
    try:
        part.replace(folder)
    except BaseException:
        aside.replace(folder)
        raise
    _remove(aside)


def _remove(part: Path) -> None:
    """Removes a file or a folder, if there is one."""
    if part.is_dir():
        shutil.rmtree(part)
    else:
        part.unlink(missing_ok=True)


def _sweep(folder: Path, stem: str) -> None:
    """Removes the parts of a file whose writers are dead."""
    for part in folder.glob(f".{escape(stem)}.*.part*"):
        writer = part.name.removeprefix(f".{stem}.").partition(".")[0]
        if writer.isdecimal() and not _lives(int(writer)):
            _remove(part)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


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
    sealed  tables of which every row carries a digest, in its column `digest`
    older   versions that are still read, and have no digests
    """

    noun: str
    format: str
    code: str
    schema: str
    hints: tuple[str, ...] = ()
    sealed: tuple[str, ...] = ()
    older: tuple[str, ...] = ()

    @contextmanager
    def refusals(self, path: Path) -> Iterator[None]:
        """Turns what SQLite or the disk refuses into E301, or `code` for a file of another kind."""
        try:
            yield
        except sqlite3.OperationalError as reason:
            # Neither the disk nor another process is to blame: the file has other tables.
            if getattr(reason, "sqlite_errorcode", sqlite3.SQLITE_ERROR) == sqlite3.SQLITE_ERROR:
                raise error(self.code, f"the file is not a {self.noun}", path=str(path)) from reason
            message = f"the {self.noun} cannot be used: {reason}"
            raise error("E301", message, path=str(path)) from reason
        except (sqlite3.DatabaseError, ValueError) as reason:
            message = f"the file is not a {self.noun}: {reason}"
            raise error(self.code, message, path=str(path)) from reason
        except OSError as reason:
            message = f"the {self.noun} cannot be written: {reason}"
            raise error("E301", message, path=str(path)) from reason

    @contextmanager
    def decoding(self, path: Path) -> Iterator[None]:
        """Turns what values of another form lead to into `code`."""
        try:
            yield
        except MALFORMED as reason:
            what = " ".join(f"{type(reason).__name__}: {reason}".split())[:200]
            message = f"the {self.noun} has a value that is none of its own: {what}"
            raise error(self.code, message, path=str(path)) from reason


# What reading a value raises that is not of the form that was written.
MALFORMED = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


class Database:
    """An open SQLite file: facts that say what it is about, as JSON, and rows.

    sealed  whether the file's rows carry digests
    """

    KIND: ClassVar[Kind]

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Opens a file, which may lie in a folder that cannot be written to if it is only read.

        Raises E301 for one that is missing or unusable, the kind's own code for another file.
        """
        kind, self.path = self.KIND, path
        if not is_file(path):
            raise error("E301", f"there is no such {kind.noun}", *kind.hints, path=str(path))
        address = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rw'}"
        with self.refusals():
            self._connection = sqlite3.connect(address, uri=True, timeout=60)
        if self.facts.get("format") not in (kind.format, *kind.older):
            message = f"the file is not a {kind.noun} of this version"
            raise error(kind.code, message, path=str(path))
        self.sealed = bool(kind.sealed) and self.facts["format"] == kind.format
        self._connection.create_function("digest", -1, self._digest_of, deterministic=True)

    @classmethod
    def write(
        cls,
        path: Path,
        facts: Mapping[str, Any],
        fill: Callable[[sqlite3.Connection], object] = lambda connection: None,
    ) -> Self:
        """A new file, with the rows that `fill` inserts. Raises E301 where it cannot be written."""
        facts = {**facts, "format": cls.KIND.format}
        seal = {"digest": _digest_of_facts(facts)} if cls.KIND.sealed else {}
        rows = [(name, json.dumps(value)) for name, value in {**facts, **seal}.items()]

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
    def decoding(self) -> Iterator[None]:
        """As `Kind.decoding`, for this file."""
        with self.KIND.decoding(self.path):
            yield

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Changes that are committed together or not at all; rows without a digest are given it."""
        with self.refusals(), self._connection:
            yield self._connection
            self._add_digests(self._connection)

    def _add_digests(self, connection: sqlite3.Connection) -> None:
        for table, digest in self._digests.items():
            connection.execute(f"UPDATE {table} SET digest = {digest} WHERE digest IS NULL")

    def upgrade(self, script: str, facts: Mapping[str, Any]) -> None:
        """Brings an older version's file to this one's format: all of it, or nothing.

        script  SQL that adds what is missing; `facts` are added, too, and digests to all rows
        """
        facts = {**self.facts, **facts, "format": self.KIND.format}
        rows = [(n, json.dumps(v)) for n, v in {**facts, "digest": _digest_of_facts(facts)}.items()]
        for name in ("facts", "_digests", "_key"):  # those of this version, from here on
            self.__dict__.pop(name, None)
        self.sealed = True
        with self.refusals(), self._connection as connection:
            connection.execute("BEGIN IMMEDIATE")
            for statement in filter(str.strip, script.split(";")):
                connection.execute(statement)
            connection.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", rows)
            self._add_digests(connection)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What the file is about. Raises the kind's error if they were edited."""
        rows = self.select("SELECT name, value FROM facts")
        with self.decoding():
            facts = {str(name): json.loads(value) for name, value in rows}  # a name may be a BLOB
        seal = facts.pop("digest", None)
        wanted = self.KIND.sealed and facts.get("format") == self.KIND.format
        if wanted and seal != _digest_of_facts(facts):
            raise error(self.KIND.code, "what the file is about was edited", path=str(self.path))
        return facts

    def select(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with self.refusals():
            return self._connection.execute(query, values).fetchall()

    def check(self) -> None:
        """Raises the kind's error if the file is damaged, or a row is not as it was written."""
        ((verdict,),) = self.select("PRAGMA integrity_check(1)")
        if verdict != "ok":
            raise error(self.KIND.code, f"the file is damaged: {verdict}", path=str(self.path))
        for table, digest in self._digests.items():
            query = f"SELECT rowid FROM {table} WHERE digest IS NOT {digest} LIMIT 1"
            for (row,) in self.select(query):
                noun = self.KIND.noun
                message = f"row {row} of its {table} was edited, or belongs to another {noun}"
                raise error(self.KIND.code, message, path=str(self.path))

    @cached_property
    def _digests(self) -> dict[str, str]:
        """Table -> the SQL that gives a row's digest, of those whose rows carry one."""
        expressions = {}
        for table in self.KIND.sealed if self.sealed else ():
            names = [row[1] for row in self.select(f"PRAGMA table_info({table})")]
            columns = ", ".join([*(f'"{name}"' for name in names if name != "digest"), "0"])
            expressions[table] = f"digest('{table} {' '.join(names)}', {columns})"
        return expressions

    @cached_property
    def _key(self) -> bytes:
        """What every row's digest depends on besides the row: all but who asked for the work."""
        facts = {name: value for name, value in self.facts.items() if name != "command"}
        return bytes.fromhex(_digest_of_facts(facts))

    def _digest_of(self, *values: Any) -> bytes:
        plain = [value.hex() if isinstance(value, bytes) else value for value in values]
        return blake2b(json.dumps(plain).encode(), key=self._key, digest_size=16).digest()


def _digest_of_facts(facts: Mapping[str, Any]) -> str:
    return blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=16).hexdigest()
