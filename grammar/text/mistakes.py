"""What a parser's complaint means to the writer: one sentence, in characters, not token names."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from emqlang.grammar.diagnostics import Diagnostic, Passage, Span
from emqlang.grammar.text.tokens import open_bracket

if TYPE_CHECKING:
    from lark.exceptions import UnexpectedInput


END = "$END"
_OPERATOR = {"PLUS", "MINUS", "STAR", "SLASH", "AT", "POWER", "LPAR"}  # what goes on after one
_CHARACTERS = {
    "RPAR": "')'",
    "COMMA": "','",
    "EQUALS": "'='",
    "LPAR": "'('",
    "POWER": "'**'",
    "NAME": "a name",
}

_HELP_CHARACTER = {
    "^": "a power is written **",
    "|": "an absolute value is written abs(...)",
    "[": "parentheses are written ( and )",
    "]": "parentheses are written ( and )",
    "{": "parentheses are written ( and )",
    "}": "parentheses are written ( and )",
    "×": "a product is written *",
    "·": "a product is written *",
    "⋅": "a product is written *",
    "÷": "a quotient is written /",
    "−": "this is a typographic minus; write -",
    "–": "this is a dash; write -",
    "²": "a square is written ** 2",
    "√": "a square root is written sqrt(...)",
    "∑": "a sum is written sum(...)",
    ".": "functions are written around their argument, as mean(w)",
    ":": "a line of an .emq file binds a name with '=': name = expression",
    ">": "nothing is compared here: sign(...) is -1, 0 or 1, and relu(x) is the larger of x and 0",
    "<": "nothing is compared here: sign(...) is -1, 0 or 1, and relu(x) is the larger of x and 0",
    "%": "a percentage is written as a number, 0.2",
    "'": "names and expressions take no quotes",
    '"': "names and expressions take no quotes",
}
_CONDITIONS = {"and", "or", "not", "if", "else", "for", "in", "is", "lambda", "where"}
_HELP_TOKEN = {
    "EQUALS": "an expression has no '='; a line of an .emq file binds a name: 'name = expression'",
    "COMMA": "a comma only separates the arguments of a function",
    "PLUS": "a plus stands between two values",
}


def describe(error: UnexpectedInput, passage: Passage, binding: bool) -> Diagnostic:
    """The diagnostic, always E101, for what Lark raised on an expression or on a binding."""
    from lark.exceptions import UnexpectedToken

    if not isinstance(error, UnexpectedToken):
        assert error.pos_in_stream is not None
        return _unexpected_character(passage, error.pos_in_stream)
    kind, text, accepted = error.token.type, str(error.token), error.accepts or set()
    start = (error.token.end_pos if kind == END else error.token.start_pos) or 0
    if kind == END and start == 0:
        return passage.diagnostic(
            "E101", "the expression is empty", Span(0, 1), help=("write for instance mean(abs(w))",)
        )
    opened = open_bracket(passage.text[:start])
    bracket = f"'(' opened at {passage.place(opened)}" if opened is not None else ""
    end = "end of line" if binding else "end of input"
    message = f"expected {_words(accepted, end)}, got {end if kind == END else repr(text)}"
    help = _HELP_TOKEN.get(kind, "")
    if "NUMBER" not in accepted and "RPAR" in accepted and kind == END:
        message = f"expected ')' to close {bracket}"
    elif kind == "RPAR" and not bracket and "PLUS" in accepted:
        message = "this ')' closes nothing"
    elif text in _CONDITIONS:
        help = "there are no conditions: a program is one formula of sums, products and functions"
    elif "PLUS" in accepted and kind in ("NAME", "NUMBER", "LPAR"):
        help = "a product is written with *"
    elif bracket and kind == END:
        help = f"{bracket} is not closed"
    elif binding and (kind == "EQUALS" or ("PLUS" not in accepted and "NUMBER" not in accepted)):
        help = "a line reads name = expression"
    return passage.diagnostic(
        "E101", message, Span(start, start + max(1, len(text))), help=(help,) if help else ()
    )


def _unexpected_character(passage: Passage, start: int) -> Diagnostic:
    character = passage.text[start]
    name = unicodedata.name(character, "control character").lower()
    shown = (
        f"'{character}'"
        if character.isprintable() and character != " "
        else f"U+{ord(character):04X}"
    )
    message = f"unexpected character {shown}" + (
        "" if character.isascii() and character.isprintable() else f" ({name})"
    )
    help = _HELP_CHARACTER.get(character)
    return passage.diagnostic("E101", message, Span(start, start + 1), help=(help,) if help else ())


def _words(accepted: set[str], end: str) -> str:
    """The accepted tokens in words: a value, an operator, or the characters themselves."""
    if "NUMBER" in accepted:
        return "a value"
    words = ["an operator"] if "PLUS" in accepted else []
    words += sorted(
        _CHARACTERS[kind] for kind in accepted - {END} if not words or kind not in _OPERATOR
    )
    if END in accepted:
        words.append(end)
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))
