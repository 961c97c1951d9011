"""Running `emqlang` commands in tests: the types of the fixture `emq`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str


class Emq(Protocol):
    def __call__(self, *arguments: str, stdin: str = "") -> Result: ...


def record(emq: Emq, *words: str, status: int = 0) -> dict[str, Any]:
    """The object that a command writes with `--json`."""
    done = emq(*words, "--json")
    assert done.status == status, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found
