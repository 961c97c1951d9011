"""Text to syntax tree: what was written, with the place of every part.

Limits are checked on the text before Lark sees it, so that nothing large or deep is ever built.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from emqlang.grammar.diagnostics import EmqError, Passage, Span
from emqlang.grammar.expr import walk
from emqlang.grammar.text.mistakes import describe
from emqlang.grammar.text.tokens import too_deep

if TYPE_CHECKING:
    from lark import Lark, Token

MAX_EXPRESSION_BYTES = 64 * 1024
MAX_NESTING = 200


class Form(StrEnum):
    NUMBER = "number"
    NAME = "name"
    CALL = "call"
    MINUS = "minus"
    INFIX = "infix"
    BINDING = "binding"


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A node is one part of a text; spans count the characters of the passage.

    text  the number, name or operator itself, which stands at `mark`
    span  the whole part, with its operands and the parentheses around it
    """

    form: Form
    text: str
    operands: tuple[Node, ...]
    span: Span
    mark: Span


def read_expression(passage: Passage) -> Node:
    """The tree of one expression. Raises EmqError: E104, E105, E101, in this order."""
    return _read(passage, "expression")


def read_binding(passage: Passage) -> Node:
    """The tree of `name = expression`: a BINDING with one operand. Raises as `read_expression`."""
    return _read(passage, "binding")


def parts(tree: Node) -> Iterator[Node]:
    """Every part of a tree after its operands, left to right."""
    return walk((tree,), attrgetter("operands"))


def _read(passage: Passage, start: str) -> Node:
    text = passage.text
    if (
        len(text) > MAX_EXPRESSION_BYTES
        or len(text.encode("utf-8", "replace")) > MAX_EXPRESSION_BYTES
    ):
        raise EmqError(
            passage.diagnostic("E104", "the expression is longer than 64 KiB", Span(0, 1))
        )
    deep = too_deep(text, MAX_NESTING)
    if deep is not None:
        message = f"parentheses and operators nest deeper than {MAX_NESTING}"
        raise EmqError(passage.diagnostic("E105", message, Span(deep, deep + 1)))
    from lark.exceptions import UnexpectedInput

    try:
        tree: Node = _parser().parse(text, start=start)  # type: ignore[assignment]  # _Build makes nodes, not lark trees
    except UnexpectedInput as error:
        raise EmqError(describe(error, passage, binding=start == "binding")) from None
    return tree


@cache
def _parser() -> Lark:
    from importlib.resources import files

    from lark import Lark

    grammar = files("emqlang.grammar").joinpath("emq.lark").read_text(encoding="utf-8")
    return Lark(
        grammar, parser="lalr", lexer="basic", start=["expression", "binding"], transformer=_Build
    )


class _Build:
    """A transformer, of which Lark calls the method named after a rule with the rule's parts."""

    @staticmethod
    def number(parts: list[Any]) -> Node:
        return _leaf(Form.NUMBER, parts[0])

    @staticmethod
    def name(parts: list[Any]) -> Node:
        return _leaf(Form.NAME, parts[0])

    @staticmethod
    def infix(parts: list[Any]) -> Node:
        left, operator, right = parts
        return Node(
            Form.INFIX,
            str(operator),
            (left, right),
            Span(left.span.start, right.span.end),
            _span(operator),
        )

    @staticmethod
    def minus(parts: list[Any]) -> Node:
        sign, operand = parts
        span = Span(sign.start_pos, operand.span.end)
        if operand.form is Form.NUMBER and operand.span == operand.mark and operand.text[0] != "-":
            return Node(Form.NUMBER, "-" + operand.text, (), span, span)
        return Node(Form.MINUS, "-", (operand,), span, _span(sign))

    @staticmethod
    def call(parts: list[Any]) -> Node:
        name, operands = parts[0], tuple(part for part in parts if isinstance(part, Node))
        return Node(
            Form.CALL, str(name), operands, Span(name.start_pos, parts[-1].end_pos), _span(name)
        )

    @staticmethod
    def group(parts: list[Any]) -> Node:
        opened, inner, closed = parts
        return Node(
            inner.form,
            inner.text,
            inner.operands,
            Span(opened.start_pos, closed.end_pos),
            inner.mark,
        )

    @staticmethod
    def binding(parts: list[Any]) -> Node:
        name, _, value = parts
        return Node(
            Form.BINDING, str(name), (value,), Span(name.start_pos, value.span.end), _span(name)
        )


def _leaf(form: Form, token: Token) -> Node:
    span = _span(token)
    return Node(form, str(token), (), span, span)


def _span(token: Token) -> Span:
    return Span(token.start_pos, token.end_pos)  # type: ignore[arg-type]  # tokens of a parsed text have places
