"""Tasks that workers are given in tests; importable wherever they run."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def square(number: int) -> int:
    return number * number


def fail(number: int) -> int:
    raise ValueError(f"{number} is wrong")


def die_once(number: int, folder: str) -> int:
    """The first process that gets number 3 is ended from outside, as for want of memory."""
    mark = Path(folder) / "dead"
    if number == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number
