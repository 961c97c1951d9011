"""A program: a text, what it says, and what it means once elaborated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from emqlang.grammar import levels
from emqlang.grammar.canonical.form import whole
from emqlang.grammar.diagnostics import Diagnostic, EmqError, Passage, Source, error
from emqlang.grammar.domain import UNSAID, Domain
from emqlang.grammar.expr import Expr, elaborate
from emqlang.grammar.inputs import Kind
from emqlang.grammar.text.reader import MAX_ERRORS, Reader
from emqlang.grammar.text.syntax import Node, read_expression


@dataclass(frozen=True)
class Program:
    """A program is a proxy that has been read.

    text         as written
    tree         its syntax tree, spans counted from the beginning of the passage it stands in
    expr         as written, its names replaced
    elaborated   what is meant: one value per layer, dependent on the choice, whose total is the
                 score; or one value of the configuration
    added        what elaboration wrapped around it, innermost first: `mean`, `bits *`
    warnings     what looks wrong and is not an error
    name         what a file binds it to, empty for an expression on its own
    description  the `##` lines above it in that file
    domain       what it was made for, by the `#:` lines there
    """

    text: str
    tree: Node
    expr: Expr
    elaborated: Expr
    added: tuple[str, ...]
    warnings: tuple[Diagnostic, ...]
    name: str = ""
    description: str = ""
    domain: Domain = UNSAID

    def __repr__(self) -> str:
        return f"Program({f'{self.name} = ' if self.name else ''}{self.text})"

    @cached_property
    def canonical(self) -> Expr:
        """What is evaluated: the canonical form of `elaborated`, whose digest is the key."""
        return whole(self.elaborated)

    @property
    def separable(self) -> bool:
        """Whether the score is a sum over layers, so that a score table says it all."""
        return self.canonical.level != levels.CONFIGURATION


def parse(
    text: str, source_name: str = "<arg>", names: Mapping[str, Expr] | None = None
) -> Program:
    """Read an expression over names bound before. Raises EmqError with at most five diagnostics.

    E403 for what is no text.
    """
    if not isinstance(text, str):
        raise error("E403", f"an expression is a text, not {type(text).__name__}")
    passage = Passage(Source(source_name, text), text)
    tree = read_expression(passage)
    reader = Reader(passage, names or {})
    expr = reader.read(tree)
    if expr is None:
        raise failure(reader.errors)
    return complete(text, tree, expr, reader.warnings)


def complete(
    text: str,
    tree: Node,
    expr: Expr,
    warnings: Iterable[Diagnostic],
    name: str = "",
    description: str = "",
    domain: Domain = UNSAID,
) -> Program:
    """The program that an expression makes once it is elaborated."""
    weighted = not expr.axes and expr.level != levels.CONFIGURATION
    added = ("mean",) * (expr.kind is not Kind.LAYER) + ("bits *",) * weighted
    meant, warned = elaborate(expr), tuple(warnings)
    return Program(text, tree, expr, meant, added, warned, name, description, domain)


def failure(errors: Iterable[Diagnostic], most: int = MAX_ERRORS) -> EmqError:
    """The first errors in the order of the text."""
    ordered = sorted(errors, key=lambda error: error.span.start if error.span else 0)
    return EmqError(*ordered[:most])
