"""A process that has imported everything, and runs each command in a fork of itself.

It reads one JSON object a line, {"folder", "arguments", "out"}, answers the process's number at
once, and its exit status when it has ended: a command takes what it works, not what it imports.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from emqlang.cli import SECTIONS, main

HEAVY = ("torch", "scipy.stats", "safetensors.torch", "msgspec", "emqlang.api")


def _imported() -> None:
    for name in HEAVY:
        importlib.import_module(name)
    for command in (name for section in SECTIONS.values() for name in section):
        for part in ("cli", "tasks", "views"):
            if find_spec(name := f"emqlang.{part}.{command}"):
                importlib.import_module(name)


def _run(request: dict[str, Any]) -> None:
    """In the fork: the command, as its own process would run it."""
    os.setpgid(0, 0)
    folder = Path(request["folder"])
    os.chdir(folder)
    for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME"):
        os.environ[name] = str(folder / name.lower())
    for number, end in (
        (0, os.devnull),
        (1, f"{request['out']}.out"),
        (2, f"{request['out']}.err"),
    ):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        os.dup2(os.open(end, flags, 0o644), number)
    sys.argv = ["emqlang", *request["arguments"]]
    main()


def _status(request: dict[str, Any]) -> int:
    """What the command ends with, and a traceback on stderr where Python would print one."""
    try:
        _run(request)
        return 0
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def serve() -> None:
    _imported()
    answer = os.fdopen(os.dup(1), "w", buffering=1)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os._exit(_status(json.loads(line)))
        with suppress(OSError):  # it may have ended
            os.setpgid(child, child)  # here too: who is answered may kill the group at once
        answer.write(f"{child}\n")
        _, ended = os.waitpid(child, 0)
        answer.write(f"{os.waitstatus_to_exitcode(ended)}\n")


if __name__ == "__main__":
    with suppress(BrokenPipeError):  # who asked is no longer there
        serve()
