"""The machine that a figure was measured on, its other load, and the memory taken. Linux."""

from __future__ import annotations

import os
import platform
import resource
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

MEGABYTE = 1 << 20


def describe() -> str:
    """One line: processor, cores, load, versions, date."""
    cpu = next(
        (_value(line) for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    versions = (
        f"python {platform.python_version()}, numpy {np.__version__}, torch {torch.__version__}"
    )
    return f"{cpu}, {cores()} cores, load {os.getloadavg()[0]:.1f}, {versions}, {date}"


def cores() -> int:
    return len(os.sched_getaffinity(0))


class Company:
    """How much of the machine other processes took since this was made: it makes ratios noisy."""

    def __init__(self) -> None:
        self.start = _busy_seconds(), cpu_seconds(), perf_counter()

    def share(self) -> float:
        """Of all processors, from 0 to 1."""
        busy, own, now = _busy_seconds(), cpu_seconds(), perf_counter()
        others = (busy - self.start[0]) - (own - self.start[1])
        return max(0.0, others) / ((now - self.start[2]) * (os.cpu_count() or 1))

    def describe(self) -> str:
        share, load = self.share(), os.getloadavg()[0]
        return f"other processes took {share:.0%} of the processors; load {load:.1f} at the end"


class Memory:
    """How far this process's main memory grows beyond what it holds when this is made."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
        self.before = _status("VmRSS")

    def grown(self) -> float:
        """Megabytes, at the peak."""
        return (_status("VmHWM") - self.before) / MEGABYTE


def _status(field: str) -> int:
    """Bytes."""
    return next(
        int(_value(line).split()[0]) * 1024
        for line in _lines("/proc/self/status")
        if line.startswith(f"{field}:")
    )


def _busy_seconds() -> float:
    """Of all processors together, since the machine was started."""
    user, nice, system, _, _, interrupts, soft, stolen = map(
        int, _lines("/proc/stat")[0].split()[1:9]
    )
    return (user + nice + system + interrupts + soft + stolen) / os.sysconf("SC_CLK_TCK")


def cpu_seconds() -> float:
    """Of this process and of those that it started and that have ended."""
    used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


def threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _value(line: str) -> str:
    return line.partition(":")[2].strip()
