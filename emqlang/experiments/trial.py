"""One repetition of one variant of an experiment, and its result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emqlang.evolve.settings import EvaluationOptions

Point = tuple[float, float]


@dataclass(frozen=True)
class Trial:
    """One trial.

    size    how much is done: draws, evaluations or rows, as the experiment says
    folder  of this trial alone, for what is to outlive an interruption
    """

    variant: str
    seed: int
    size: int
    options: EvaluationOptions
    folder: Path


@dataclass(frozen=True)
class Result:
    """Figures by name, and a curve where there is one: evaluations, and the best fitness so far."""

    figures: Mapping[str, float]
    curve: tuple[Point, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {
            "figures": dict(self.figures),
            "curve": [list(point) for point in self.curve],
            "facts": dict(self.facts),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Result:
        return cls(record["figures"], tuple((x, y) for x, y in record["curve"]), record["facts"])


Task = Callable[[Trial], Result]
