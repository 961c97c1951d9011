"""Edited files of every kind: each is refused with a code, or gives the same result."""

from __future__ import annotations

import json
import random
import re
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kills import NETWORK
from trials import Attack, Result, Verdict, emqlang, refused_or

TIMES = re.compile(r'("(?:seconds|statistics|evaluation|ms)": )[-+.e\d]+|\d+(?:\.\d+)? ?m?s\b')


@dataclass(frozen=True)
class Kind:
    """A kind of file: where it lies after `make`, and the command that reads it.

    free  the part of it that is the user's to change, if there is one
    """

    name: str
    path: str
    make: tuple[tuple[str, ...], ...]
    read: tuple[str, ...]
    free: str = ""


MAKE_TABLE = (
    "bench",
    "build",
    *NETWORK,
    "--rows",
    "40",
    "--calib-images",
    "64",
    "--out",
    "t.table",
)
ASSIGN = ("assign", "bit_sum", *NETWORK[:4], "--avg-bits", "3", "--out", "recipe.json")
QUANTIZE = (
    "quantize", *NETWORK, "--recipe", "recipe.json", "--calib-images", "64", "--no-check",
    "--out", "q",
)  # fmt: skip
STATISTICS = ("eval", "mean(fisher * qerr ** 2)", *NETWORK[:4], "--json")
APPLY = (
    "quantize", *NETWORK, "--recipe", "recipe.json", "--calib-images", "64", "--no-check", "--json",
)  # fmt: skip
EVALUATE = ("evaluate", "q", *NETWORK, "--json")
KINDS = (
    Kind("recipe", "recipe.json", (ASSIGN,), APPLY, "layers"),
    Kind("checkpoint", "q/model.safetensors", (ASSIGN, QUANTIZE), EVALUATE),
    Kind("checkpoint-recipe", "q/recipe.json", (ASSIGN, QUANTIZE), EVALUATE),
    Kind("table", "t.table", (MAKE_TABLE,), ("rank", "bit_sum", "--table", "t.table", "--json")),
    Kind(
        "run", "run/run.sqlite",
        (("evolve", "--seed", "5", "--evals", "400", "--out", "run"),), ("front", "run", "--json"),
    ),
    Kind("statistics", "xdg_cache_home", (STATISTICS,), STATISTICS),
)  # fmt: skip


def _prepare(kind: Kind) -> Callable[[Path], Any]:
    def prepare(folder: Path) -> Any:
        place = folder / "whole"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        for words in kind.make:
            done = emqlang(place, *words)
            if done.status:
                raise RuntimeError(done.err)
        done = emqlang(place, *kind.read)
        if done.status:
            raise RuntimeError(done.err)
        return kind, place, _timeless(done)

    return prepare


def _timeless(done: Result) -> tuple[int, str]:
    return done.status, TIMES.sub(r"\1", done.out)


def _trial(shared: Any, number: int) -> Verdict:
    kind, whole, wanted = shared
    place = whole.parent / f"trial-{number}"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(whole, place)
    target = place / kind.path
    if target.is_dir():
        files = sorted(path for path in target.rglob("*") if path.is_file())
        target = files[number % len(files)]
    _edit(target, random.Random(number))
    done = emqlang(place, *kind.read)
    verdict = refused_or(lambda: _timeless(done) == wanted, done)
    if not (verdict.passed or done.status) and _asked_for(kind, whole / kind.path, target):
        verdict = Verdict(True, f"another result, as its {kind.free} say")
    if verdict.passed:
        shutil.rmtree(place)
    return verdict


def _asked_for(kind: Kind, whole: Path, edited: Path) -> bool:
    """Whether the part that is the user's was changed, and nothing else."""
    if not kind.free:
        return False
    one, other = (json.loads(path.read_text()) for path in (whole, edited))
    return bool(one.pop(kind.free) != other.pop(kind.free) and one == other)


def _edit(path: Path, chance: random.Random) -> None:
    """One change: a bit, a piece cut off or overwritten, a value of a JSON or a database."""
    content = path.read_bytes()
    if path.suffix == ".json" and chance.random() < 0.7:
        path.write_text(_other_json(path.read_text(), chance))
    elif content[:6] == b"SQLite" and chance.random() < 0.7:
        _other_row(path, chance)
    else:
        path.write_bytes(_other_bytes(bytearray(content), chance))


def _other_bytes(content: bytearray, chance: random.Random) -> bytes:
    place = chance.randrange(len(content))
    action = chance.randrange(4)
    if action <= 1:
        content[place] ^= 1 << chance.randrange(8)
    elif action == 2:
        del content[place:]
    else:
        content[place : place + 8] = chance.randbytes(8)
    return bytes(content)


def _other_json(text: str, chance: random.Random) -> str:
    """One number, word or value of a JSON changed."""
    tokens = list(re.finditer(r'-?\d+(?:\.\d+)?|"(?:[^"\\]|\\.)*"|true|false|null', text))
    token = chance.choice(tokens)
    others = ("0", "1", "-1", "2", "7", "1e999", "null", "true", '"x"', "[]", "{}", "9" * 30)
    return text[: token.start()] + chance.choice(others) + text[token.end() :]


def _other_row(path: Path, chance: random.Random) -> None:
    """One value of a random row of a random table changed, or the row deleted."""
    with sqlite3.connect(path) as connection:
        names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
        tables = [name for (name,) in connection.execute(names)]
        filled = [t for t in tables if connection.execute(f"SELECT 1 FROM {t}").fetchone()]
        table = chance.choice(filled)
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        row = chance.choice([row for (row,) in connection.execute(f"SELECT rowid FROM {table}")])
        if chance.random() < 0.2:
            connection.execute(f"DELETE FROM {table} WHERE rowid = ?", (row,))
            return
        column = chance.choice(columns)
        ((old,),) = connection.execute(f"SELECT {column} FROM {table} WHERE rowid = ?", (row,))
        values: tuple[Any, ...] = (0, 1, -1, 0.5, 1e300, None, "x", "[", b"\x00", 99)
        value = chance.choice([value for value in values if value != old])
        change = f"UPDATE {table} SET {column} = ? WHERE rowid = ?"
        try:
            connection.execute(change, (value, row))
        except sqlite3.IntegrityError:
            connection.execute(f"DELETE FROM {table} WHERE rowid = ?", (row,))


ATTACKS = tuple(
    Attack(
        f"edited-{kind.name}",
        f"a {kind.name} file with one change is refused, or gives the same result"
        + f", or the one that its {kind.free} ask for now" * bool(kind.free),
        200,
        _prepare(kind),
        _trial,
    )
    for kind in KINDS
)
