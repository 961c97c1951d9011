"""Line editing for the REPL: TAB, and a history that outlives it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from emqlang.views import render

LENGTH = 10_000  # lines of history that are kept


def history_path() -> Path:
    """Where history lies: under XDG_STATE_HOME, or ~/.local/state."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "emqlang" / "history"


@contextmanager
def line_editing(words: Callable[[], Iterable[str]]) -> Iterator[Callable[[str], str]]:
    """A function that reads one line after a prompt; plain `input` where there is no readline."""
    try:
        import readline
    except ImportError:  # Windows
        yield input
        return
    path = history_path()
    if path.is_file():
        readline.read_history_file(path)
    readline.set_history_length(LENGTH)
    readline.set_completer(lambda stem, index: _candidate(words(), stem, index))
    readline.set_completer_delims(" \t\n()+-*/@,=")
    readline.parse_and_bind(
        "bind ^I rl_complete" if "libedit" in (readline.__doc__ or "") else "tab: complete"
    )
    try:
        yield input
    finally:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            readline.write_history_file(path)
        except OSError as problem:
            render.note(f"the history is not kept: {problem}")


def _candidate(words: Iterable[str], stem: str, index: int) -> str | None:
    found = sorted({word for word in words if word.startswith(stem)})
    return found[index] if index < len(found) else None
