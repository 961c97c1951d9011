"""What a run's ledger says afterwards: its best programs, their ancestors, and each one's fate."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from emqlang.evolve.candidate import COSTS
from emqlang.evolve.ledger import Ledger
from emqlang.evolve.reasons import Reason
from emqlang.grammar.canonical.form import key
from emqlang.grammar.diagnostics import Diagnostic, error, nearest
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
    diagnostics: tuple[Diagnostic, ...] = ()

    def __repr__(self) -> str:
        lines = [f"{entry.fitness:.4f}  {entry.text[:60]}" for entry in self.entries]
        return "\n".join((f"{self.command}: fitness, program", *lines))


@dataclass(frozen=True)
class Lineage:
    """A program and its ancestors, each once, in preorder: (generations back, program)."""

    generations: tuple[tuple[int, Entry], ...]
    diagnostics: tuple[Diagnostic, ...] = ()


@dataclass(frozen=True)
class Fate:
    """What became of a program."""

    entry: Entry
    diagnostics: tuple[Diagnostic, ...] = ()


_NAMES = (
    "id, text, operator, parents, island, step, nodes, cost, fitness, rho, reason, same, repeats"
)
FIELDS = ("id", "nodes", "cost", "fitness", "island", "step", "repeats")
_CONDITION = re.compile(r"\s*(\w+)\s*(<=|>=|==|!=|=|<|>)\s*(-?[0-9]+(?:\.[0-9]+)?)\s*")


LARGEST = 2**63 - 1  # that SQLite has
Curve = tuple[tuple[float, float], ...]  # evaluated programs, the best fitness so far
_BESTS = """
SELECT s.evaluated, p.best
FROM (SELECT step, sum(evaluated) AS evaluated FROM steps GROUP BY step) s
LEFT JOIN (SELECT step, max(fitness) AS best FROM programs WHERE reason = '' GROUP BY step) p
ON p.step = s.step ORDER BY s.step
"""


def _entries(ledger: Ledger, clause: str, values: Sequence[Any] = ()) -> Iterator[Entry]:
    """The programs that a clause selects. Raises E316 for one that is not of the written form."""
    for row in ledger.select(f"SELECT {_NAMES} FROM programs {clause}", values):
        with ledger.decoding():
            yield _entry(row)


def _entry(row: Sequence[Any]) -> Entry:
    number, text, operator, parents, island, step, nodes, cost, *outcome = row
    fitness, rho, reason, same, repeats = outcome
    return Entry(
        int(number),
        str(text),
        str(operator),
        tuple(map(int, json.loads(parents))),
        int(island),
        int(step),
        int(nodes),
        COSTS[cost],
        None if fitness is None else float(fitness),
        tuple(map(float, json.loads(rho))) if rho else (),
        Reason(reason),
        same,
        int(repeats),
    )


def top(ledger: Ledger, count: int, where: str = "") -> Programs:
    """The best programs that meet a condition, as 'nodes <= 8 and cost < 3'. Raises E403."""
    conditions, values = _conditions(where)
    clause = " AND ".join(("reason = ''", *conditions))
    clause = f"WHERE {clause} ORDER BY fitness DESC, nodes, id LIMIT ?"
    found = tuple(_entries(ledger, clause, (*values, min(count, LARGEST))))
    return Programs("top", found, ledger.diagnostics)


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
    best: list[Entry] = []
    of_each_size = "SELECT id, max(fitness) FROM programs WHERE reason = '' GROUP BY nodes"
    for entry in _entries(ledger, f"WHERE id IN (SELECT id FROM ({of_each_size})) ORDER BY nodes"):
        if not best or (entry.fitness or 0.0) > (best[-1].fitness or 0.0):
            best.append(entry)
    return Programs("front", tuple(best), ledger.diagnostics)


def entry(ledger: Ledger, number: int) -> Entry:
    """A program by its number. Raises E403 if there is none."""
    found = _entries(ledger, "WHERE id = ?", (max(-LARGEST, min(number, LARGEST)),))
    if (program := next(found, None)) is None:
        ((last,),) = ledger.select("SELECT max(id) FROM programs")
        help = f"its programs are numbered 1 to {last or 0:,}"
        raise error("E403", f"the run has no program {number}", help)
    return program


def of_program(ledger: Ledger, program: Expr) -> Entry | None:
    """The run's entry of an elaborated program, or of its negative; None if it never came up."""
    digest = key(program)
    return next(_entries(ledger, "WHERE key = ? OR opposite = ?", (digest, digest)), None)


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
    return Lineage(tuple(generations.values()), ledger.diagnostics)


def curve(ledger: Ledger, size: float = inf) -> Curve:
    """The best fitness so far after each step that raised it, and at the end; () without any.

    size  evaluated programs after which no step counts, but for the first that found anything
    """
    points, evaluated = list[tuple[float, float]](), 0
    with ledger.decoding():
        for count, fitness in ledger.select(_BESTS):
            if points and evaluated + count > size:
                break
            evaluated += int(count)
            if fitness is not None and (not points or fitness > points[-1][1]):
                points.append((float(evaluated), float(fitness)))
    last = float(evaluated) if size == inf else size
    return (*points, (last, points[-1][1])) if points else ()
