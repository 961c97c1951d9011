"""How long work says how far it has come."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]  # what is done, steps done, steps in all or 0


def silent(what: str, done: int, total: int) -> None:
    """The progress that nobody follows."""
