"""What the tokens of a text tell before any of it is parsed: nesting, brackets, layout."""

from __future__ import annotations

import re
from collections.abc import Iterator

TOKEN = re.compile(
    r"#[^\n]*|\*\*|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[A-Za-z_][A-Za-z0-9_]*|[^\s]"
)
# how a line that binds a name starts
BINDING = re.compile(r"[ \t]*([A-Za-z_][A-Za-z0-9_]*)[ \t]*=")
OPERATORS = frozenset(("+", "-", "*", "/", "**", "@"))


def tokens(text: str) -> Iterator[tuple[str, int]]:
    """Each token with its offset; a comment is one token, a foreign character one, a space none."""
    return ((match[0], match.start()) for match in TOKEN.finditer(text))


def starts_value(previous: str) -> bool:
    """Whether a value, and not an operator, comes after this token; "" is the beginning."""
    return previous in OPERATORS or previous in ("", "(", ",", "=")


def too_deep(text: str, limit: int) -> int | None:
    """Offset of the token that nests deeper than the limit, or None.

    Nesting counts open brackets, minus signs before a value and right sides of `**`. A sum or
    product of many terms is one level.
    """
    if text.count("(") + text.count("-") + text.count("**") <= limit:
        return None
    depth, pending, previous = 0, 0, ""
    brackets: list[int] = []  # what was pending outside each open bracket
    for token, offset in tokens(text):
        if token[0] == "#":
            continue
        if token == "(":
            brackets.append(pending)
            depth, pending = depth + 1, 0
        elif token == ")" and brackets:
            depth, pending = depth - pending - 1, brackets.pop()
        elif token == "**" or (token == "-" and starts_value(previous)):
            depth, pending = depth + 1, pending + 1
        elif token in OPERATORS or token == ",":
            depth, pending = depth - pending, 0
        if depth > limit:
            return offset
        previous = token
    return None


def open_bracket(text: str) -> int | None:
    """Offset of the innermost bracket that is still open at the end of the text."""
    brackets: list[int] = []
    for token, offset in tokens(text):
        if token == "(":
            brackets.append(offset)
        elif token == ")" and brackets:
            brackets.pop()
    return brackets[-1] if brackets else None
