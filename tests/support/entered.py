"""Which of the package's files a command enters: those with functions that run after imports.

python tests/support/entered.py eval "mean(abs(w))"
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any


@contextmanager
def recording() -> Iterator[set[str]]:
    """The files entered so far, in every thread, as `emqlang.cli.eval`-like names."""
    entered: set[str] = set()
    importing: dict[int, int] = {}  # thread -> modules whose body runs

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        if event not in ("call", "return"):
            return
        thread, name = threading.get_ident(), frame.f_globals.get("__name__", "")
        if frame.f_code.co_name == "<module>":
            importing[thread] = importing.get(thread, 0) + (1 if event == "call" else -1)
        elif event == "call" and name.startswith("emqlang.") and not importing.get(thread):
            entered.add(name)

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        yield entered
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]


def main() -> None:
    from emqlang.cli import run

    with recording() as entered:
        status = run(sys.argv[1:])
    package = Path(sys.modules["emqlang"].__path__[0])
    print(*sorted(entered), f"{len(entered)} files of {package}", sep="\n", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
