"""What a run's ledger says afterwards: its best programs, their ancestors, and each one's fate."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from emqlang.evolve.candidate import COSTS
from emqlang.evolve.ledger import Ledger
from emqlang.evolve.reasons import Reason
from emqlang.grammar.canonical.form import key
from emqlang.grammar.diagnostics import error, nearest
from emqlang.grammar.expr import Expr
from emqlang.grammar.inputs import Cost


@dataclass(frozen=True)
class Entry:
    """One program of a run.

    rho   per benchmark and ratio, flat
    same  the program that has the same scores
    """

    number: int
    text: str
    operator: str
    parents: tuple[int, ...]
    island: int
    step: int
    nodes: int
    cost: Cost
    fitness: float | None
    rho: tuple[float, ...]
    reason: Reason
    same: int | None
    repeats: int


@dataclass(frozen=True)
class Programs:
    """What `emqlang front` or `emqlang top` lists of a run."""

    command: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Lineage:
    """A program and its ancestors, each once, in preorder: (generations back, program)."""

    generations: tuple[tuple[int, Entry], ...]


@dataclass(frozen=True)
class Fate:
    """What became of a program."""

    entry: Entry


_NAMES = (
    "id, text, operator, parents, island, step, nodes, cost, fitness, rho, reason, same, repeats"
)
FIELDS = ("id", "nodes", "cost", "fitness", "island", "step", "repeats")
_CONDITION = re.compile(r"\s*(\w+)\s*(<=|>=|==|!=|=|<|>)\s*(-?\d+(?:\.\d+)?)\s*")


def _entry(row: Sequence[Any]) -> Entry:
    number, text, operator, parents, island, step, nodes, cost, *outcome = row
    fitness, rho, reason, same, repeats = outcome
    return Entry(
        number,
        text,
        operator,
        tuple(json.loads(parents)),
        island,
        step,
        nodes,
        COSTS[cost],
        fitness,
        tuple(json.loads(rho)) if rho else (),
        Reason(reason),
        same,
        repeats,
    )


def top(ledger: Ledger, count: int, where: str = "") -> Programs:
    """The best programs that meet a condition, as 'nodes <= 8 and cost < 3'. Raises E403."""
    conditions, values = _conditions(where)
    clause = " AND ".join(("reason = ''", *conditions))
    order = "fitness DESC, nodes, id"
    query = f"SELECT {_NAMES} FROM programs WHERE {clause} ORDER BY {order} LIMIT ?"
    rows = ledger.select(query, (*values, count))
    return Programs("top", tuple(_entry(row) for row in rows))


def _conditions(where: str) -> tuple[list[str], list[float]]:
    conditions, values = [], []
    for part in re.split(r"\band\b", where) if where.strip() else ():
        match = _CONDITION.fullmatch(part)
        if match is None:
            message = f"'{part.strip()}' is not a condition"
            raise error("E403", message, "write --where 'nodes <= 8 and cost < 3'")
        name, comparison, value = match.groups()
        if name not in FIELDS:
            help = (*nearest(name, FIELDS), f"one of {', '.join(FIELDS)}")
            raise error("E403", f"programs have no '{name}'", *help)
        conditions.append(f"{name} {'=' if comparison == '==' else comparison} ?")
        values.append(float(value))
    return conditions, values


def front(ledger: Ledger) -> Programs:
    """For each size, the best program, if none that is as small is better: small ones first."""
    names, clause = f"{_NAMES}, max(fitness)", "WHERE reason = '' GROUP BY nodes ORDER BY nodes"
    entries: list[Entry] = []
    for *row, _ in ledger.select(f"SELECT {names} FROM programs {clause}"):
        entry = _entry(row)
        if not entries or (entry.fitness or 0.0) > (entries[-1].fitness or 0.0):
            entries.append(entry)
    return Programs("front", tuple(entries))


def entry(ledger: Ledger, number: int) -> Entry:
    """A program by its number. Raises E403 if there is none."""
    rows = ledger.select(f"SELECT {_NAMES} FROM programs WHERE id = ?", (number,))
    if not rows:
        ((last,),) = ledger.select("SELECT max(id) FROM programs")
        help = f"its programs are numbered 1 to {last or 0:,}"
        raise error("E403", f"the run has no program {number}", help)
    return _entry(rows[0])


def of_program(ledger: Ledger, program: Expr) -> Entry | None:
    """The run's entry of an elaborated program, or of its negative; None if it never came up."""
    digest = key(program)
    query = f"SELECT {_NAMES} FROM programs WHERE key = ? OR opposite = ?"
    rows = ledger.select(query, (digest, digest))
    return _entry(rows[0]) if rows else None


def lineage(ledger: Ledger, number: int) -> Lineage:
    """Where a program comes from. Raises E403 if there is none of that number."""
    generations: dict[int, tuple[int, Entry]] = {}
    stack = [(0, number)]
    while stack:
        depth, current = stack.pop()
        if current not in generations:
            program = entry(ledger, current)
            generations[current] = depth, program
            stack += [(depth + 1, parent) for parent in reversed(program.parents) if parent > 0]
    return Lineage(tuple(generations.values()))
