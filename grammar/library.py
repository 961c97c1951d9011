"""Proxies by the words of a command line: names of the library, files, standard input, texts."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

from emqlang.grammar.diagnostics import Diagnostic, EmqError, error, nearest
from emqlang.grammar.expr import Expr
from emqlang.grammar.files import MAX_FILE_BYTES, EmqFile, decode, load_file, load_text, statements
from emqlang.grammar.program import Program, parse

STDIN = "-"
SHELVES = (
    "paper",
    "baselines",
    "references",
    "across_layers",
    "evolved",
)  # the files of the library, in this order
# By which bits are chosen where no proxy is named: of weights, and of weights and activations.
RECOMMENDED: Final = {"weights": "fisher_length", "pairs": "fisher_length_pairs"}
REASON: Final = "it sees in each image how the errors of all layers meet"  # why these
MOST: Final = 100  # mistakes of one file that are told
_FILE = re.compile(r"(.+\.emq)(?::(\w+))?")


class Library(Mapping[str, Program]):
    """The library maps names to shipped proxies; a file is parsed when a name of it is taken."""

    def __getitem__(self, name: str) -> Program:
        """Raises E102 with the nearest name."""
        shelf = _shelf_of().get(name)
        if shelf is None:
            raise error(
                "E102",
                f"no proxy of the library is called '{name}'",
                *nearest(name, self),
                "it has " + ", ".join(self),
            )
        return replace(_load(shelf)[name], warnings=())  # not of a text that the user wrote

    def shelf(self, name: str) -> str:
        """The file of the library that a name is from."""
        return _shelf_of()[name]

    def __contains__(self, name: object) -> bool:
        return name in _shelf_of()

    def __iter__(self) -> Iterator[str]:
        return iter(_shelf_of())

    def __len__(self) -> int:
        return len(_shelf_of())


LIBRARY = Library()


def names() -> tuple[str, ...]:
    """The library's names."""
    return tuple(LIBRARY)


def meanings() -> dict[str, Expr]:
    """What the library's names stand for, for expressions that use them."""
    return {name: LIBRARY[name].expr for name in LIBRARY}


def find(word: str) -> tuple[Program, ...]:
    """The proxies that a word means: one, or all public ones of a file.

    `hawq_v2` is in the library; `mine.emq`, `mine.emq:name` and the same after an `@` are in a
    file; `-` is standard input (an expression, or a file's text); and anything else is an
    expression over the library's names, whose own name is empty. Raises EmqError.
    """
    if word == STDIN:
        text = decode(sys.stdin.buffer.read(MAX_FILE_BYTES + 1), "<stdin>")
        if any(statement.name for statement in statements(text)):
            return _public(load_text(text, "<stdin>"))
        return (parse(text, "<stdin>", meanings()),)
    word = word.removeprefix("@")
    if match := _FILE.fullmatch(word):
        file = load_file(match[1])
        return (file[match[2]],) if match[2] else _public(file)
    return (LIBRARY[word] if word in LIBRARY else parse(word, names=meanings()),)


def find_one(word: str) -> Program:
    """The proxy that a word means; of a file with several, the last. Raises EmqError."""
    return find(word)[-1]


def recommended(pairs: bool) -> Program:
    """The proxy to choose bits by where none is named; `pairs` of a menu of activations, too."""
    return LIBRARY[RECOMMENDED["pairs" if pairs else "weights"]]


def find_all(words: Iterable[str], names: Iterable[str] = ()) -> tuple[Program, ...]:
    """The proxies that words mean, and those of the library by name. Raises EmqError."""
    return (*(proxy for word in words for proxy in find(word)), *(LIBRARY[name] for name in names))


def diagnose(word: str) -> Sequence[Diagnostic]:
    """Every error of a file, up to MOST, or the first of an expression; or else its warnings."""
    try:
        if _is_file(word):
            return load_file(word.removeprefix("@"), MOST).warnings
        return [warning for proxy in find(word) for warning in proxy.warnings]
    except EmqError as mistakes:
        if len(word) < 256 and Path(word).is_dir():
            files = "give its files, as *.emq"
            return error("E301", "this is a folder", files, path=word).diagnostics
        return mistakes.diagnostics


def _is_file(word: str) -> bool:
    return word.endswith(".emq") or (
        word != STDIN and len(word) < 256 and Path(word.removeprefix("@")).is_file()
    )


def _public(file: EmqFile) -> tuple[Program, ...]:
    if file.proxies:
        return tuple(file.proxies.values())
    raise error(
        "E102",
        "the file binds no public name",
        "a line reads name = expression",
        path=file.source.name,
    )


@cache
def _shelf_of() -> dict[str, str]:
    """Which file binds each name."""
    return {
        statement.name: shelf
        for shelf in SHELVES
        for statement in statements(read_shelf(shelf))
        if not statement.name.startswith("_")
    }


@cache
def _load(shelf: str) -> EmqFile:
    return load_text(read_shelf(shelf), f"library/{shelf}.emq")


@cache
def read_shelf(shelf: str) -> str:
    """The text of one file of the library."""
    return files("emqlang.grammar").joinpath("proxies", f"{shelf}.emq").read_text(encoding="utf-8")
