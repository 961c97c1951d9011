"""Where the work stands, on stderr, and with --verbose what it took."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

from emqlang.views.render import VERBOSE, detail, duration, note, quiet, width

_TICK, _REPORT = 0.1, 10.0  # seconds between two signs of progress, on a terminal and elsewhere
_BAR = 24  # characters of a progress bar


class _Ticker:
    """A line of progress: called with the work's name, the steps done and in all, 0 if unknown.

    Verbose, each piece of work is told of when it is over, with the time it took.
    """

    def __init__(self) -> None:
        self.quiet, self.verbose = quiet(), detail() == VERBOSE
        self.live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not self.quiet
        self.last = self.began = self.seen = perf_counter()
        self.work, self.first = ("", 0), 0

    def __call__(self, name: str, done: int, total: int) -> None:
        now = perf_counter()
        if (name.split(" ")[0], total) != self.work:
            self.close()
            self.work, self.began, self.first = (name.split(" ")[0], total), self.seen, done
        self.seen = now
        if self.quiet or now - self.last < (_TICK if self.live else _REPORT):
            return
        self.last = now
        counted = f"{done:,}/{total:,}" if total else f"{done:,}"
        if total and done > self.first:
            left = (now - self.began) / (done - self.first) * (total - done)
            counted += f", {duration(left)} left"
        if self.live:
            filled = round(_BAR * done / total) if total else 0
            bar = "━" * filled + "╌" * (_BAR - filled) + "  " if total else ""
            sys.stderr.write(f"\r\x1b[K{_one_line(name, bar, counted)}")
        else:
            sys.stderr.write(f"{name}: {counted}\n")
        sys.stderr.flush()

    def close(self) -> None:
        """The work so far is over."""
        if not self.work[0]:
            return
        if self.live:
            sys.stderr.write("\r\x1b[K")
        if self.verbose:
            note(f"{self.work[0]}: {_took(self.seen - self.began)}")
        self.work = ("", 0)


def _one_line(name: str, bar: str, counted: str) -> str:
    """What fits the terminal: the bar gives way first, then the end of the name."""
    room = width(sys.stderr) - 1 - len(counted) - 2  # a full line would wrap
    if len(name) + len(bar) > room:
        bar = ""
    short = name if len(name) + len(bar) <= room else f"{name[: max(room - 1, 0)]}…"
    return f"{short}  {bar}{counted}"


def _took(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 10 else duration(seconds)


@contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """Where the work stands: one changing line on a terminal, and a line now and then elsewhere."""
    ticker = _Ticker()
    try:
        yield ticker
    finally:
        ticker.close()


def resources(began: float) -> None:
    """Verbose: how long the command took, from a reading of the clock, and its peak of memory."""
    if detail() == VERBOSE:
        import resource

        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        note(f"in all: {_took(perf_counter() - began)}, at most {memory:,.0f} MiB")
