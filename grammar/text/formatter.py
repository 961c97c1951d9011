"""The standard layout of `.emq` files. Only spaces and blank lines change."""

from __future__ import annotations

import sys
from pathlib import Path

from emqlang.grammar.files import decode, load_text, read_text
from emqlang.grammar.text.tokens import starts_value, tokens

INDENT = "    "


def fmt(text: str, source_name: str = "<text>") -> str:
    """The file in the standard layout. Raises EmqError if the file has a mistake."""
    load_text(text, source_name)
    lines: list[str] = []
    depth, previous = 0, ""
    for line in text.split("\n"):
        code, hash, comment = line.strip().partition("#")
        laid, last = layout(code, previous if depth else "")
        after = depth + code.count("(") - code.count(")")
        indent = "" if depth == 0 or (after == 0 and laid.startswith(")")) else INDENT
        lines.append((indent + laid + ("  " if laid and hash else "") + hash + comment).rstrip())
        depth, previous = after, last
    return _spaced(lines)


def reformat(path: str, write: bool) -> bool:
    """Whether a file is not in the standard layout; `write` rewrites it. Raises as `fmt`."""
    text = read_text(path)
    laid = fmt(text, path)
    if laid != text and write:
        Path(path).write_text(laid, encoding="utf-8", newline="\n")
    return laid != text


def reformat_stdin() -> tuple[str, bool]:
    """Standard input in the standard layout, and whether it was in another. Raises as `fmt`."""
    text = decode(sys.stdin.buffer.read(), "<stdin>")
    laid = fmt(text, "<stdin>")
    return laid, laid != text


def layout(code: str, previous: str = "") -> tuple[str, str]:
    """A line of code with standard spaces, and its last token.

    previous  the last token of the line above, if a bracket is open
    """
    pieces: list[str] = []
    for token, _ in tokens(code):
        if pieces and not _joined(previous, token):
            pieces.append(" ")
        sign = token == "-" and starts_value(previous)
        pieces.append(token)
        previous = "(" if sign else token  # a sign holds on to what follows as an open bracket does
    return "".join(pieces), previous


def _joined(previous: str, token: str) -> bool:
    """Whether no space stands between two tokens."""
    call = token == "(" and (previous[0].isalpha() or previous[0] == "_")
    return previous == "(" or token in (")", ",") or call


def _spaced(lines: list[str]) -> str:
    """The lines with at most one blank line between two others, and a newline at the end."""
    kept: list[str] = []
    for line in lines:
        if line or (kept and kept[-1]):
            kept.append(line)
    return "\n".join(kept).rstrip("\n") + "\n" if kept else ""
