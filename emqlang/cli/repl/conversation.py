"""Statements from a keyboard or a pipe to an interpreter, which is loaded while one is typed."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TextIO

from emqlang.grammar.diagnostics import EXIT_OK, EmqError
from emqlang.grammar.text.tokens import open_bracket
from emqlang.views import render

if TYPE_CHECKING:
    from emqlang.cli.repl.interpreter import Interpreter


class Loading:
    """An interpreter that is on its way: torch, the network and the table load in the background.

    options  of the workbench, in the words of the command line
    table    a name or a file; empty for the network's own
    """

    def __init__(self, options: Mapping[str, Any], table: str) -> None:
        pool = ThreadPoolExecutor(1)
        self._future: Future[Interpreter] = pool.submit(_load, dict(options), table)
        pool.shutdown(wait=False)

    def interpreter(self) -> Interpreter:
        """It, once it is there. Raises EmqError for a network or table that cannot be loaded."""
        return self._future.result()

    def words(self) -> Iterable[str]:
        """What completion offers beyond the language's own words."""
        ready = self._future.done() and self._future.exception() is None
        return self.interpreter().words() if ready else ()


def _load(options: dict[str, Any], table: str) -> Interpreter:
    from emqlang.cli.repl.interpreter import load

    return load(options, table)


def converse(loading: Loading, read: Callable[[], str]) -> int:
    """Read, evaluate and print until Ctrl-D or :quit; a mistake is shown, Ctrl-C clears the line.

    Raises EmqError, at the first statement, where the network or the table cannot be loaded.
    """
    while True:
        try:
            text = read()
        except KeyboardInterrupt:
            continue
        except EOFError:
            return EXIT_OK
        interpreter = loading.interpreter()
        try:
            for statement in statements(text.splitlines(keepends=True)):
                interpreter.execute(statement)
        except EmqError as mistakes:
            render.diagnostics(mistakes.diagnostics)
        except KeyboardInterrupt:
            render.note("interrupted")
        if interpreter.leaving:
            return EXIT_OK


def batch(loading: Loading, stream: TextIO) -> int:
    """The statements of a stream, without prompts.

    Raises EmqError at the first mistake, E104 for bytes that are no text.
    """
    interpreter = loading.interpreter()
    for statement in statements(_lines(stream)):
        interpreter.execute(statement)
        if interpreter.leaving:
            break
    return EXIT_OK


def _lines(stream: TextIO) -> Iterator[str]:
    from emqlang.grammar.diagnostics import error

    try:
        yield from stream
    except UnicodeDecodeError as reason:
        message = f"the input is not {codecs.lookup(reason.encoding).name} text: {reason.reason}"
        raise error("E104", message, path="<stdin>") from reason


def statements(lines: Iterable[str]) -> Iterator[str]:
    """Lines that belong together: a statement goes on while a bracket is open."""
    text = ""
    for line in lines:
        text += line
        if not unfinished(text):
            yield text.rstrip("\n")
            text = ""
    if text:
        yield text.rstrip("\n")


def unfinished(text: str) -> bool:
    """Whether a bracket is still open; commands take one line."""
    return not text.lstrip().startswith(":") and open_bracket(text) is not None
