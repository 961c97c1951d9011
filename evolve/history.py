"""What a run's ledger tells afterwards: its front, its best, where a program comes from, and why another does not count."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
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
    """One program of a run; `rho` a court and ratio, flat; `same` is the program whose scores it has."""

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


_NAMES = (
    "id, text, operator, parents, island, step, nodes, cost, fitness, rho, reason, same, repeats"
)
FIELDS = ("id", "nodes", "cost", "fitness", "island", "step", "repeats")
_CONDITION = re.compile(r"\s*(\w+)\s*(<=|>=|==|!=|=|<|>)\s*(-?\d+(?:\.\d+)?)\s*")


def _entry(row: Sequence[Any]) -> Entry:
    (
        number,
        text,
        operator,
        parents,
        island,
        step,
        nodes,
        cost,
        fitness,
        rho,
        reason,
        same,
        repeats,
    ) = row
    return Entry(
        number, text, operator, tuple(json.loads(parents)), island, step, nodes, COSTS[cost], fitness,
        tuple(json.loads(str(rho))) if rho else (), Reason(reason), same, repeats,
    )  # fmt: skip


def top(ledger: Ledger, count: int, where: str = "") -> list[Entry]:
    """The best programs that meet a condition such as 'nodes <= 8 and cost < 3'. Raises E403 for one that is none."""
    conditions, values = _conditions(where)
    clause = "".join(f" AND {condition}" for condition in conditions)
    query = f"SELECT {_NAMES} FROM programs WHERE reason = ''{clause} ORDER BY fitness DESC, nodes, id LIMIT ?"
    return [_entry(row) for row in ledger.select(query, (*values, count))]


def _conditions(where: str) -> tuple[list[str], list[float]]:
    conditions, values = [], []
    for part in re.split(r"\band\b", where) if where.strip() else ():
        match = _CONDITION.fullmatch(part)
        if match is None:
            raise error(
                "E403",
                f"'{part.strip()}' is no condition",
                "write --where 'nodes <= 8 and cost < 3'",
            )
        name, comparison, value = match.groups()
        if name not in FIELDS:
            raise error(
                "E403",
                f"programs have no '{name}'",
                *nearest(name, FIELDS),
                f"one of {', '.join(FIELDS)}",
            )
        conditions.append(f"{name} {'=' if comparison == '==' else comparison} ?")
        values.append(float(value))
    return conditions, values


def front(ledger: Ledger) -> list[Entry]:
    """For each size, the best program, if none that is as small is better: small ones first."""
    query = f"SELECT {_NAMES}, max(fitness) FROM programs WHERE reason = '' GROUP BY nodes ORDER BY nodes"
    found: list[Entry] = []
    for *row, _ in ledger.select(query):
        entry = _entry(row)
        if not found or (entry.fitness or 0.0) > (found[-1].fitness or 0.0):
            found.append(entry)
    return found


def entry(ledger: Ledger, number: int) -> Entry:
    """A program by its number. Raises E403 for a number that is none."""
    found = ledger.select(f"SELECT {_NAMES} FROM programs WHERE id = ?", (number,))
    if not found:
        (last,) = ledger.select("SELECT max(id) FROM programs")[0]
        raise error(
            "E403",
            f"the run has no program {number}",
            f"its programs are numbered 1 to {last or 0:,}",
        )
    return _entry(found[0])


def of_program(ledger: Ledger, program: Expr) -> Entry | None:
    """The run's entry of an elaborated program, or of its negative; None if it never came up."""
    digest = key(program)
    found = ledger.select(
        f"SELECT {_NAMES} FROM programs WHERE key = ? OR opposite = ?", (digest, digest)
    )
    return _entry(found[0]) if found else None


def lineage(ledger: Ledger, number: int) -> Iterator[tuple[int, Entry]]:
    """A program and its ancestors, each once, in preorder: (generations back, entry)."""
    seen: set[int] = set()
    stack = [(0, number)]
    while stack:
        depth, current = stack.pop()
        if current in seen:
            continue
        seen.add(current)
        found = entry(ledger, current)
        yield depth, found
        stack += [(depth + 1, parent) for parent in reversed(found.parents) if parent > 0]
