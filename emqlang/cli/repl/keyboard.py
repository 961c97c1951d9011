"""The REPL's prompt: editing, colours, completion, and a history that outlives it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.lexers import Lexer
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.styles import Style

from emqlang.cli.repl.conversation import unfinished
from emqlang.grammar.inputs import INPUTS
from emqlang.grammar.library import LIBRARY
from emqlang.grammar.ops import CALLS
from emqlang.grammar.text.tokens import OPERATORS, TOKEN
from emqlang.quant.tables.shelf import shipped
from emqlang.views import render

PROMPT: Final = "emq> "
TABLE: Final = re.compile(r"(?<=^:table )\S*$")
WORD: Final = re.compile(r":?[A-Za-z_0-9]*$")
STYLE: Final = Style.from_dict(
    {
        "op": "ansiblue",
        "statistic": "ansicyan",
        "proxy": "ansimagenta",
        "number": "ansiyellow",
        "command": "bold",
        "comment": "ansibrightblack",
        "operator": "",
        "name": "",
    }
)


def keyboard(model: str, words: Callable[[], Iterable[str]]) -> Callable[[], str]:
    """A function that reads one statement, of one or more lines.

    words  that completion offers beside those of the language
    Raises KeyboardInterrupt for Ctrl-C, and EOFError for Ctrl-D.
    """
    render.note(f"{model}; :help lists the commands, Ctrl-D leaves")
    colour = render.coloured(sys.stdout)
    session: PromptSession[str] = PromptSession(
        PROMPT,
        history=history(),
        lexer=Colours(words),
        style=STYLE,
        color_depth=None if colour else ColorDepth.DEPTH_1_BIT,
        completer=Words(words),
        complete_while_typing=False,
        multiline=True,
        prompt_continuation=lambda width, line, wrapped: "...> ".rjust(width),
        key_bindings=_keys(),
    )
    return lambda: str(session.prompt())


def _keys() -> KeyBindings:
    """Enter ends a statement whose brackets are closed; after a blank line it ends any."""
    from prompt_toolkit.application import get_app

    keys = KeyBindings()
    closed = Condition(lambda: _ends(get_app().current_buffer.document))

    @keys.add("enter", filter=closed)
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    return keys


def _ends(document: Document) -> bool:
    return not unfinished(document.text) or not document.current_line.strip()


def history_path() -> Path:
    """Where history lies: under XDG_STATE_HOME, or ~/.local/state."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "emqlang" / "repl-history"


def history() -> History:
    """The lines of all conversations; of this one alone where none can be written."""
    path = history_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab"):
            pass
    except OSError as problem:
        render.note(f"the history is not kept: {problem}")
        return InMemoryHistory()
    return FileHistory(str(path))


class Words(Completer):
    """Ops, statistics, names of the library and bound ones; commands after a colon."""

    def __init__(self, words: Callable[[], Iterable[str]]) -> None:
        self.words = words

    def get_completions(self, document: Document, event: CompleteEvent) -> Iterator[Completion]:
        before = document.text_before_cursor
        match = TABLE.search(before) or WORD.search(before)
        assert match is not None  # WORD matches nothing, too
        stem = match[0]
        for word in self._offered(before, stem):
            if word.startswith(stem):
                yield Completion(word, -len(stem))

    def _offered(self, before: str, stem: str) -> list[str]:
        if before.startswith(":table "):
            return [*shipped()]
        words = sorted({*CALLS, *INPUTS, *LIBRARY, *self.words()})
        return [word for word in words if word.startswith(":") == stem.startswith(":")]


class Colours(Lexer):
    """Each word in the colour of what it is."""

    def __init__(self, words: Callable[[], Iterable[str]]) -> None:
        self.words = words

    def lex_document(self, document: Document) -> Callable[[int], StyleAndTextTuples]:
        lines, bound = document.lines, set(self.words())
        return lambda number: [*_styled(lines[number], bound)]


def _styled(line: str, bound: Any) -> Iterator[tuple[str, str]]:
    if line.lstrip().startswith(":"):
        word, space, rest = line.partition(" ")
        yield "class:command", word + space
        line = rest
    end = 0
    for match in TOKEN.finditer(line):
        yield "", line[end : match.start()]
        yield f"class:{_class(match[0], bound)}", match[0]
        end = match.end()
    yield "", line[end:]


def _class(token: str, bound: Any) -> str:
    if token.startswith("#"):
        return "comment"
    if token[0].isdigit() or (token[0] == "." and len(token) > 1):
        return "number"
    if token in OPERATORS:
        return "operator"
    known = (("op", CALLS), ("statistic", INPUTS), ("proxy", LIBRARY), ("proxy", bound))
    return next((name for name, words in known if token in words), "name")
