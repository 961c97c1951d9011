"""Bits for layers that were chosen without their network, as a file that `emqlang export` reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct, field

from emqlang.grammar.diagnostics import error
from emqlang.quant.records import Saved, read_json, typed

SCHEMA = "emqlang-allocation"
SCHEMA_VERSION = 1


class AllocatedLayer(Struct, frozen=True, forbid_unknown_fields=True):
    """What a layer gets: the name of its choice, which takes so many bits per weight."""

    choice: str
    bits: float
    numel: int


class UniformChoice(Struct, frozen=True, forbid_unknown_fields=True):
    """The best single choice for all layers that may choose, within the same budget."""

    choice: str
    score: float
    achieved: Mapping[str, float] = field(default_factory=dict)


class Solution(Struct, frozen=True, forbid_unknown_fields=True):
    """How good the choices are: `optimal` is proven, and else `gap` bounds what better ones score.

    uniform  None where no single choice meets the budget
    """

    status: str
    gap: float
    score: float
    uniform: UniformChoice | None = None


class Allocation(Saved, frozen=True, forbid_unknown_fields=True):
    """Which choice every layer gets.

    scores    the file of measured scores, or '' for rows that were given in Python
    budget    quantity -> limit as written
    achieved  quantity -> what the choices cost: bytes, bit operations, nanoseconds, bits per weight
    fixed     layers whose choice was given, and those tied to them; average bits leave them out
    """

    layers: Mapping[str, AllocatedLayer]
    scores: str = ""
    budget: Mapping[str, str] = field(default_factory=dict)
    achieved: Mapping[str, float] = field(default_factory=dict)
    solver: Solution | None = None
    fixed: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    schema: str = SCHEMA
    schema_version: int = SCHEMA_VERSION

    @property
    def choices(self) -> dict[str, str]:
        """Layer -> choice."""
        return {name: layer.choice for name, layer in self.layers.items()}

    @property
    def bits(self) -> dict[str, float]:
        """Layer -> bits per weight."""
        return {name: layer.bits for name, layer in self.layers.items()}


def find_allocation(path: Path) -> Allocation | None:
    """The allocation in a file; None if it is something else, or not there. Raises E310."""
    try:
        text = path.read_text(encoding="utf-8")
        record = json.loads(text)
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(record, Mapping) or record.get("schema") != SCHEMA:
        return None
    return parse_allocation(text, str(path))


def parse_allocation(text: str, path: str = "") -> Allocation:
    """What `as_json` wrote. E310 names the field that is wrong."""
    record = read_json(text, "E310", "the allocation", path)
    named = isinstance(record, Mapping) and record.get("schema") == SCHEMA
    if not named or record.get("schema_version") != SCHEMA_VERSION:
        help = f'it is a JSON object with "schema": "{SCHEMA}", "schema_version": {SCHEMA_VERSION}'
        raise error("E310", "this is not an allocation of bits", help, path=path)
    return typed(record, Allocation, "E310", "the allocation", path)
