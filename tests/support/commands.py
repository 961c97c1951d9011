"""Running `emqlang` commands in tests: the types of the fixture `emq`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str


class Emq(Protocol):
    def __call__(self, *arguments: str, stdin: str = "") -> Result: ...
