"""SIGTERM and SIGHUP end a command as Ctrl-C does, so that what is finished is kept."""

from __future__ import annotations

import signal
from types import FrameType

from emqlang.grammar.diagnostics import EXIT_INTERRUPTED

ENDING = (signal.SIGTERM, signal.SIGHUP)
_received: list[int] = []


def install() -> None:
    """Takes the signals over, but for those that were ignored before, as under nohup."""
    for number in ENDING:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _as_ctrl_c)


def _as_ctrl_c(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    handler = signal.getsignal(signal.SIGINT)
    if callable(handler):  # a search's own finishes its step
        handler(signal.SIGINT, frame)
    else:
        raise KeyboardInterrupt


def exit_status(status: int) -> int:
    """Of a command that was interrupted: 143 by SIGTERM, 129 by SIGHUP, 130 by Ctrl-C."""
    return 128 + _received[-1] if _received and status == EXIT_INTERRUPTED else status
