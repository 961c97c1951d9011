"""`.emq` files: lines of `name = expression`, where later lines may use earlier names.

A line goes on while a bracket is open. `#` starts a comment; the `##` lines right above a binding
describe it, and `#:` lines among them say what it was made for (grammar/domain.py). Names with a
leading `_` are private to their file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from emqlang.grammar.diagnostics import Diagnostic, EmqError, Passage, Source, error, nearest
from emqlang.grammar.domain import MARK, read_domain
from emqlang.grammar.expr import Expr
from emqlang.grammar.inputs import INPUTS
from emqlang.grammar.ops import OPS
from emqlang.grammar.program import Program, complete, failure
from emqlang.grammar.text.reader import MAX_ERRORS, Reader
from emqlang.grammar.text.syntax import Form, Node, parts, read_binding
from emqlang.grammar.text.tokens import BINDING

MAX_FILE_BYTES = 1024 * 1024


@dataclass(frozen=True)
class EmqFile:
    """A file holds programs, without mistakes, in order, private ones included."""

    source: Source
    bindings: tuple[Program, ...]

    @cached_property
    def proxies(self) -> dict[str, Program]:
        """The public bindings by name."""
        return {proxy.name: proxy for proxy in self.bindings if not proxy.name.startswith("_")}

    @cached_property
    def warnings(self) -> tuple[Diagnostic, ...]:
        return tuple(warning for proxy in self.bindings for warning in proxy.warnings)

    def __getitem__(self, name: str) -> Program:
        """The proxy of that name. Raises E102."""
        if name in self.proxies:
            return self.proxies[name]
        why = "is private" if any(proxy.name == name for proxy in self.bindings) else "is not bound"
        raise error(
            "E102",
            f"'{name}' {why} in this file",
            *nearest(name, self.proxies),
            path=self.source.name,
        )


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement is the text of one binding, its offset, and the description above it.

    domain  the `#:` lines above it, each with its offset
    """

    text: str
    start: int
    description: str
    domain: tuple[tuple[int, str], ...] = ()

    @property
    def name(self) -> str:
        """The name that it binds; empty where it does not begin with one."""
        match = BINDING.match(self.text)
        return match[1] if match else ""


def load_file(path: str | Path, most: int = MAX_ERRORS) -> EmqFile:
    """Read a file. Raises EmqError: E301, E104, E111, and what `load_text` raises."""
    return load_text(read_text(path), str(path), most)


def load_text(text: str, source_name: str = "<text>", most: int = MAX_ERRORS) -> EmqFile:
    """Read the text of a file.

    Raises EmqError with so many diagnostics at most: mistakes of syntax first, then those of
    meaning.
    """
    source = Source(source_name, text)
    lines = _Lines(source, most)
    lines.read()
    if lines.errors:
        raise failure(lines.errors, most)
    return EmqFile(source, tuple(lines.programs))


def load_line(text: str, source_name: str, names: Mapping[str, Expr]) -> Program:
    """Read `name = expression` over names bound before. Raises EmqError; E108 for a reserved name.

    A name may be bound anew.
    """
    passage = Passage(Source(source_name, text), text)
    tree = read_binding(passage)
    if (refusal := _reserved(passage, tree)) is not None:
        raise EmqError(refusal)
    (value,) = tree.operands
    reader = Reader(passage, names)
    expr = reader.read(value)
    if expr is None:
        raise failure(reader.errors)
    return complete(text, value, expr, reader.warnings, tree.text)


def read_text(path: str | Path) -> str:
    """The text of a file. Raises E301, E104, E111; E403 for what is no path."""
    if not isinstance(path, str | os.PathLike):
        raise error("E403", f"a path is a text, not {type(path).__name__}")
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as problem:  # ValueError: no name that a file can have
        said = (getattr(problem, "strerror", None) or str(problem)).lower()
        raise error(
            "E301",
            f"the file cannot be read: {said}",
            path=str(path),
        ) from None
    return decode(content, str(path))


def decode(content: bytes, name: str) -> str:
    """Bytes of a file as text. Raises E104 above 1 MiB and E111 if they are not UTF-8."""
    if len(content) > MAX_FILE_BYTES:
        raise error("E104", "the file is larger than 1 MiB", path=name)
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        column = problem.start - content.rfind(b"\n", 0, problem.start)
        message = f"byte 0x{content[problem.start]:02x} is not UTF-8"
        raise error(
            "E111", message, "save the file as UTF-8", path=f"{name}:{line}:{column}"
        ) from None


def statements(text: str) -> Iterator[Statement]:
    """The bindings of a file, unparsed: each on a line, or more lines while a bracket is open."""
    description: list[str] = []
    domain: list[tuple[int, str]] = []
    lines: list[str] = []  # of the statement under way
    start = offset = depth = 0
    for line in text.split("\n"):
        code, hash, comment = line.partition("#")
        if lines and (depth <= 0 or BINDING.match(line)):
            yield Statement("\n".join(lines), start, " ".join(description), tuple(domain))
            description, domain, lines, depth = [], [], [], 0
        if lines or code.strip():
            start = start if lines else offset
            lines.append(line)
            depth += code.count("(") - code.count(")")
        elif comment.startswith("#"):
            description.append(comment[1:].strip())
        elif comment.startswith(MARK):
            domain.append((offset, line))
        elif not hash:
            description, domain = [], []
        offset += len(line) + 1
    if lines:
        yield Statement("\n".join(lines), start, " ".join(description), tuple(domain))


def _reserved(passage: Passage, tree: Node) -> Diagnostic | None:
    """E108 if a line binds the name of a statistic or an op."""
    name = tree.text
    if name not in INPUTS and name not in OPS:
        return None
    what = "a statistic" if name in INPUTS else "an op"
    return passage.diagnostic(
        "E108", f"'{name}' is {what} and cannot be bound", tree.mark, "reserved"
    )


class _Lines:
    """The lines of a file become programs, as far as they have no mistakes."""

    def __init__(self, source: Source, most: int) -> None:
        self.source, self.most = source, most
        self.errors: list[Diagnostic] = []
        self.programs: list[Program] = []
        self.names: dict[str, Expr | None] = {}
        self.first: dict[str, int] = {}  # the offset at which each name is bound
        self.uses: dict[str, set[str]] = {}  # the names in each line

    @property
    def full(self) -> bool:
        return len(self.errors) >= self.most

    def read(self) -> None:
        """Syntax of all lines first, so that one line's mistake is not reported in another."""
        lines = []
        for statement in statements(self.source.text):
            passage = Passage(self.source, statement.text, statement.start)
            try:
                tree = read_binding(passage)
            except EmqError as problem:
                self.errors += problem.diagnostics
                self.names[statement.name] = None
            else:
                lines.append((statement, passage, tree))
                self.uses.setdefault(
                    tree.text, {n.text for n in parts(tree) if n.form in (Form.NAME, Form.CALL)}
                )
            if self.full:
                return
        for statement, passage, tree in lines:
            self._read_line(statement, passage, tree)
            if self.full:
                return

    def _read_line(self, statement: Statement, passage: Passage, tree: Node) -> None:
        name, value = tree.text, tree.operands[0]
        new = self._bind(name, passage, tree)
        domain, mistakes = read_domain(statement.domain, self.source)
        self.errors += mistakes
        reader = Reader(passage, self.names, lambda used: self._later(used, name))
        expr = reader.read(value)
        self.errors += reader.errors
        if new:
            self.names[name] = expr
        if expr is not None:
            text, warnings = passage.text[value.span.start : value.span.end], reader.warnings
            said = (statement.description, domain)
            self.programs.append(complete(text, value, expr, warnings, name, *said))

    def _bind(self, name: str, passage: Passage, tree: Node) -> bool:
        """Whether the line may bind its name; reports E107 and E108."""
        if (refusal := _reserved(passage, tree)) is not None:
            self.errors.append(refusal)
            return False
        offset = passage.start + tree.mark.start
        if self.first.setdefault(name, offset) == offset:
            return True
        line, column = self.source.place(self.first[name])
        help = (f"first bound at {self.source.name}:{line}:{column}",)
        self.errors.append(
            passage.diagnostic("E107", f"'{name}' is bound twice", tree.mark, "bound again", help)
        )
        return False

    def _later(self, name: str, user: str) -> tuple[str, str] | None:
        """What to say of a name that `user` needs before it is bound; None if no line binds it."""
        if name not in self.uses:
            return None
        rule = "a line may use only the names bound above it"
        if name == user:
            return f"'{name}' is used in its own definition", rule
        if self._needs(name, user):
            return f"'{user}' and '{name}' need each other", rule
        return f"'{name}' is bound further down", f"move its line above the one that binds '{user}'"

    def _needs(self, start: str, goal: str) -> bool:
        """Whether one name is used, at any remove, in the definition of another."""
        seen, stack = {start}, [start]
        while stack:
            used = self.uses.get(stack.pop(), set())
            if goal in used:
                return True
            stack += used - seen
            seen |= used
        return False
