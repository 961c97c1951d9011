"""One line that says what a figure was measured on."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch


def describe() -> str:
    cpu = next(
        (line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), platform.machine()
    )
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    versions = f"python {platform.python_version()}, numpy {np.__version__}, torch {torch.__version__}"
    return f"{cpu}, {cores} cores, load {load:.1f}, {versions}, {date}"


def peak_memory() -> int:
    """Bytes of main memory that this process has ever held at once (VmHWM)."""
    return next(int(line.split()[1]) * 1024 for line in _lines("/proc/self/status") if line.startswith("VmHWM"))


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text().splitlines() if file.exists() else []
