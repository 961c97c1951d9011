"""What the words of a command line stand for, what is wrong with them, and how they are laid out."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from emqlang.grammar import library
from emqlang.grammar.diagnostics import Diagnostic, EmqError
from emqlang.grammar.files import decode, load_file, read_text
from emqlang.grammar.program import Program
from emqlang.grammar.text.formatter import fmt

STDIN = "-"


def find(words: Iterable[str], names: Iterable[str] = ()) -> tuple[Program, ...]:
    """The proxies of expressions, files (`mine.emq`, `@mine.emq:name`), `-` and library names. Raises EmqError."""
    found = [program for word in words for program in library.find(word.removeprefix("@"))]
    return (*found, *(library.LIBRARY[name] for name in names))


def find_one(word: str) -> Program:
    """The proxy that a word stands for; of a file with several, the last."""
    return find([word])[-1]


def diagnose(word: str) -> Sequence[Diagnostic]:
    """Every error of a file or an expression, or else its warnings."""
    try:
        if _is_file(word):
            return load_file(word.removeprefix("@")).warnings
        return [warning for program in find([word]) for warning in program.warnings]
    except EmqError as mistakes:
        return mistakes.diagnostics


def reformat(path: str, write: bool) -> bool:
    """Whether a file is not in the standard layout; it is rewritten if `write`. Raises EmqError if it has a mistake."""
    text = read_text(path)
    laid = fmt(text, path)
    if laid != text and write:
        Path(path).write_text(laid, encoding="utf-8", newline="\n")
    return laid != text


def reformat_stdin() -> tuple[str, bool]:
    """Standard input in the standard layout, and whether it was in another."""
    text = decode(sys.stdin.buffer.read(), "<stdin>")
    laid = fmt(text, "<stdin>")
    return laid, laid != text


def _is_file(word: str) -> bool:
    return word.endswith(".emq") or (
        word != STDIN and len(word) < 256 and Path(word.removeprefix("@")).is_file()
    )
