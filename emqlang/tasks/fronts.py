"""Fronts, of bits over a budget or of a search over sizes, and as commands printed them in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from msgspec import Struct

from emqlang.evolve.history import Programs
from emqlang.grammar.diagnostics import error
from emqlang.quant.bits.budget import QUANTITIES
from emqlang.quant.records import read_json, typed
from emqlang.store import as_path

Point = tuple[float, float]  # what it costs, and what it is worth
CALLED: Final = {"avg-bits": "bits of all weights"}
HELP: Final = "`assign --sweep --json` and `front RUN --json` print one"


@dataclass(frozen=True)
class Front:
    """Undominated points, cheapest first.

    name     what is worth something: a proxy, or programs
    cost     what the first axis is, with its unit; `worth` likewise of the second
    uniform  choice -> the point where all groups have it
    """

    name: str
    cost: str
    worth: str
    points: tuple[Point, ...]
    uniform: Mapping[str, Point] = field(default_factory=dict)


def of_programs(programs: Programs, name: str = "") -> Front:
    """Fitness over nodes, of those that no smaller one is as good as. Raises E403 without any."""
    best: list[Point] = []
    for one in sorted(programs.entries, key=lambda one: (one.nodes, -(one.fitness or 0.0))):
        if one.fitness is not None and (not best or one.fitness > best[-1][1]):
            best.append((float(one.nodes), one.fitness))
    return _whole(Front(name or programs.command, "nodes", "fitness", tuple(best)))


def read_front(path: str | Path) -> Front:
    """What `assign --sweep --json`, with a network or --scores, or `front --json` printed.

    Raises E301, and E403 for a file that is none of these, naming the field.
    """
    path = as_path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as reason:
        raise error("E301", f"cannot read the front: {reason}", path=str(path)) from reason
    record = read_json(text, "E403", "the front", str(path))
    kind = KINDS.get(str(record.get("schema"))) if isinstance(record, dict) else None
    if kind is None:
        raise error("E403", "this is not a front", HELP, path=str(path))
    return _whole(typed(record, kind, "E403", "the front", str(path)).front(path), path)


def _whole(front: Front, path: Path | None = None) -> Front:
    if not front.points:
        raise error("E403", "the front has no points", HELP, path=str(path or ""))
    return front


class _Point(Struct, frozen=True):
    cost: float
    score: float


class _Uniform(Struct, frozen=True):
    choice: str
    cost: float
    score: float


class _Proxy(Struct, frozen=True):
    text: str
    name: str | None = None


class _Sweep(Struct, frozen=True):
    """Of `assign --sweep`; costs are in the quantity's smallest unit."""

    over: str
    points: tuple[_Point, ...]
    proxy: _Proxy
    uniform: tuple[_Uniform, ...] = ()

    def front(self, path: Path) -> Front:
        scale, cost = _scale(self.over, path)
        points = tuple((one.cost / scale, one.score) for one in self.points)
        uniform = {one.choice: (one.cost / scale, one.score) for one in self.uniform}
        return Front(self.proxy.name or self.proxy.text, cost, "score", points, uniform)


class _Measured(Struct, frozen=True):
    """Of `assign --scores --sweep`; average bits are per weight."""

    over: str
    points: tuple[_Point, ...]
    scores: str

    def front(self, path: Path) -> Front:
        scale, cost = _scale(self.over, path)
        cost = "bits per weight" if self.over == "avg-bits" else cost
        points = tuple((one.cost / scale, one.score) for one in self.points)
        return Front(Path(self.scores).name or "scores", cost, "score", points)


class _Program(Struct, frozen=True):
    nodes: int
    fitness: float


class _Found(Struct, frozen=True):
    """Of `front RUN`."""

    programs: tuple[_Program, ...]

    def front(self, path: Path) -> Front:
        points = tuple((float(one.nodes), one.fitness) for one in self.programs)
        return Front(path.name, "nodes", "fitness", points)


def _scale(over: str, path: Path) -> tuple[int, str]:
    """One shown unit in smallest ones, and what the quantity is called with it."""
    if over not in QUANTITIES:
        names = f"one of {', '.join(QUANTITIES)}"
        raise error("E403", f"the front is over '{over}'", names, path=str(path))
    quantity = QUANTITIES[over]
    scale = quantity.worth.get(quantity.shown, 1)
    return scale, CALLED.get(over, f"{quantity.name}, {quantity.shown}")


KINDS: Final[Mapping[str, type[_Sweep] | type[_Measured] | type[_Found]]] = {
    "emqlang.front/1": _Sweep,
    "emqlang.measured-front/1": _Measured,
    "emqlang.run.front/1": _Found,
}
