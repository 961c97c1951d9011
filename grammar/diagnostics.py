"""What went wrong, where, and what to do: one record for every mistake a user can make.

A `Diagnostic` is a value. It is raised inside an `EmqError`, which carries as many as one input
has, and it is rendered (rustc's layout, with a caret) or dumped to JSON only at the edge.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from textwrap import TextWrapper
from typing import Any, Literal

from emqlang.grammar.codes import CODES

EXIT_OK, EXIT_NO, EXIT_USAGE, EXIT_DATA, EXIT_NOT_FINITE = 0, 1, 2, 3, 4
EXIT_INTERNAL, EXIT_INTERRUPTED = 70, 130
_LINE = 120  # characters of a source line that are shown


@dataclass(frozen=True, slots=True)
class Span:
    """A span is a half-open range of characters in a text."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Source:
    """A source is a text with a name: a path, `<arg>`, `<repl>`, or a file of the library."""

    name: str
    text: str

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column of a character offset, both from 1, columns in characters."""
        line = self.text.count("\n", 0, offset) + 1
        return line, offset - (self.text.rfind("\n", 0, offset) + 1) + 1

    def line(self, number: int) -> str:
        return self.text.split("\n")[number - 1] if self.text else ""


Role = Literal["severity", "message", "gutter", "mark", "help"]
Paint = Callable[[Role, str], str]


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """A diagnostic is a mistake or warning: its code, a lowercase sentence, a place, and help."""

    code: str
    message: str
    source: Source | None = None
    span: Span | None = None
    label: str = ""
    help: tuple[str, ...] = ()
    path: str = ""  # a file, layer or option, where there is no source text

    @property
    def is_error(self) -> bool:
        return self.code[0] == "E"

    def as_dict(self) -> dict[str, Any]:
        """The record of `--json`: code, message, file, line, column, end_column, help."""
        record: dict[str, Any] = {
            "code": self.code,
            "message": self.message,
            "help": list(self.help),
        }
        if self.source and self.span:
            line, column = self.source.place(self.span.start)
            width = min(self.span.end, len(self.source.text)) - self.span.start
            record |= {
                "file": self.source.name,
                "line": line,
                "column": column,
                "end_column": column + max(1, width),
            }
        elif self.path:
            record["file"] = self.path
        return record

    def render(self, paint: Paint = lambda role, text: text, width: int = 1000) -> str:
        """rustc's layout; `paint` may colour each part by its role.

        width  at which sentences are broken between words; the source's lines stay whole
        """
        severity = "error" if self.is_error else "warning"
        head = paint("severity", f"{severity}[{self.code}]")
        message = _folded(_printable(self.message), width, len(severity) + len(self.code) + 4)
        lines = [head + paint("message", f": {message}")]
        if self.source and self.span:
            number, column = self.source.place(self.span.start)
            start, end = column - 1, column - 1 + self.span.end - self.span.start
            shown, before, marked = _excerpt(self.source.line(number), start, end)
            indent = " " * len(str(number))
            bar = paint("gutter", f"{indent} |")
            mark = f"{'^' * max(1, _columns(marked))} {self.label}".rstrip()
            lines += [
                paint("gutter", f"{indent}-->")
                + f" {_printable(self.source.name)}:{number}:{column}",
                bar,
                paint("gutter", f"{number} |") + f" {shown}".rstrip(),
                f"{bar} {_blank(before)}{paint('mark', mark)}",
            ]
        elif self.path:
            lines.append(paint("gutter", " -->") + f" {_printable(self.path)}")
        sentences = (_folded(_printable(line), width, len("help: ")) for line in self.help)
        help = (paint("help", "help:") + f" {sentence}" for sentence in sentences)
        return "\n".join((*lines, *help))


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage is a stretch of a source that is parsed alone; spans count from its beginning."""

    source: Source
    text: str
    start: int = 0

    def diagnostic(
        self, code: str, message: str, span: Span, label: str = "", help: tuple[str, ...] = ()
    ) -> Diagnostic:
        """A diagnostic placed in the source."""
        placed = Span(self.start + span.start, self.start + span.end)
        return Diagnostic(code, message, self.source, placed, label, help)

    def place(self, offset: int) -> str:
        """Line and column in the source, as `3:14`."""
        line, column = self.source.place(self.start + offset)
        return f"{line}:{column}"

    def quote(self, span: Span) -> str:
        """The text of a part on one line."""
        return " ".join(self.text[span.start : span.end].split())


@dataclass
class EmqError(Exception):
    """An error carries the diagnostics of one input; its exit status is the worst one's."""

    diagnostics: Sequence[Diagnostic] = field(default_factory=tuple)

    def __init__(self, *diagnostics: Diagnostic) -> None:
        super().__init__("\n".join(d.message for d in diagnostics))
        self.diagnostics = diagnostics

    def __reduce__(self) -> tuple[type[EmqError], tuple[Diagnostic, ...]]:
        """Errors travel from workers with their diagnostics."""
        return EmqError, tuple(self.diagnostics)

    @property
    def exit_status(self) -> int:
        return max(CODES[d.code].exit for d in self.diagnostics)

    def __str__(self) -> str:
        return "\n".join(d.render() for d in self.diagnostics)


class EmqWarning(UserWarning):
    """A warning of the Python API: `warnings.warn` shows it, and filters go by this class."""

    diagnostic: Diagnostic | None = None

    @classmethod
    def of(cls, diagnostic: Diagnostic) -> EmqWarning:
        """The warning of a diagnostic; its text alone travels between processes."""
        warning = cls("; ".join((f"{diagnostic.code}: {diagnostic.message}", *diagnostic.help)))
        warning.diagnostic = diagnostic
        return warning


def error(code: str, message: str, *help: str, path: str = "") -> EmqError:
    """An error without a source text: about a file, a network, an option."""
    return EmqError(Diagnostic(code, message, help=help, path=path))


def nearest(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """A `did you mean` line for the closest known name, or nothing."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return (f"did you mean '{close[0]}'?",) if close else ()


def _printable(text: str) -> str:
    """A text in which nothing steers a terminal, nor would break an encoding."""
    return "".join(c if c.isprintable() or c in "\t\n" else "\ufffd" for c in text)


def _folded(text: str, width: int, taken: int) -> str:
    """Sentences broken between words, behind as many characters in the first line."""
    if len(text) + taken <= width:
        return text
    wrapper = TextWrapper(
        width,
        initial_indent=" " * taken,
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return wrapper.fill(text)[taken:]


def _excerpt(line: str, start: int, end: int) -> tuple[str, str, str]:
    """As much of a line as fits, what of it comes before a marked part, and the marked part.

    Nothing in them steers a terminal.
    """
    line = _printable(line.removesuffix("\r"))
    first = 0 if len(line) <= _LINE else max(0, min(start - _LINE // 3, len(line) - _LINE))
    last = min(len(line), first + _LINE)
    head, tail = "..." * (first > 0), "..." * (last < len(line))
    return head + line[first:last] + tail, head + line[first:start], line[start : min(end, last)]


def _columns(text: str) -> int:
    """Terminal columns of a text; wide East Asian characters take two."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def _blank(text: str) -> str:
    """Whitespace as wide as `text`, tabs kept so that the caret stays below its character."""
    return "".join("\t" if c == "\t" else " " * _columns(c) for c in text)
