"""Commands in processes of their own, for tests that kill them.

They are forked from a server that has imported everything, so that starting one costs nothing.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from emqlang.cli import run

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["background", "emqlang.tasks.evolve", "emqlang.tasks.qat", "emqlang.quant.tables.build"]
)


def run_until(done: Callable[[], bool], arguments: tuple[str, ...], delay: float = 0) -> None:
    """Runs a command until a condition holds; kills it and its workers `delay` seconds later."""
    process = _FORKS.Process(target=_run, args=(arguments, dict(os.environ), Path.cwd()))
    process.start()
    while process.is_alive() and not done():
        time.sleep(0.005)
    time.sleep(delay)
    with suppress(ProcessLookupError):  # a busy machine may let it finish first
        os.killpg(process.pid or 0, signal.SIGKILL)
    process.join()


def _run(arguments: tuple[str, ...], environment: Mapping[str, str], folder: Path) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    sys.argv = ["emqlang", *arguments]
    sys.exit(run(arguments))
