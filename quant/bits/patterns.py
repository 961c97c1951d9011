"""Layers by patterns, where there is no network: which are tied, and whose choice is fixed.

A pattern is the shell's: `*`, `?`, `[qkv]`; and `{}` is text that must be the same in tied names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase, translate
from typing import TypeVar

from emqlang.grammar.diagnostics import error, nearest

C = TypeVar("C")
SHOWN = 8  # names in a help line
Groups = tuple[tuple[int, ...], ...]  # of layers, by index


def tied(names: Sequence[str], text: str) -> Groups:
    """Groups of layers that share a choice, in the order of their first layers.

    text  such as 'blk.{}.attn_[qkv],blk.{}.ffn_gate|blk.{}.ffn_up': names that match an entry, or
          one of its alternatives, with the same text for every {}, are one group
    Raises E402 for an entry that ties no two layers.
    """
    joined = list(range(len(names)))  # layer -> the first layer of its group
    for entry in filter(None, (part.strip() for part in text.split(","))):
        forms = [_expression(form.strip()) for form in entry.split("|")]
        members: dict[tuple[str, ...], list[int]] = {}
        for index, name in enumerate(names):
            match = next(filter(None, (form.fullmatch(name) for form in forms)), None)
            if match is not None:
                members.setdefault(match.groups(), []).append(index)
        if all(len(layers) < 2 for layers in members.values()):
            why = "matches no layer" if not members else "ties no two layers"
            hint = "{} is text that tied names share, as in 'blk.{}.attn_[qkv]'"
            raise error("E402", f"'{entry}' {why}", hint, _some(names))
        for layers in members.values():
            roots = {joined[index] for index in layers}
            joined = [min(roots) if root in roots else root for root in joined]
    return tuple(
        tuple(i for i, other in enumerate(joined) if other == root)
        for root in dict.fromkeys(joined)
    )


def fixed(
    names: Sequence[str],
    groups: Groups,
    text: str,
    choice: Callable[[int, str], C],
    example: str,
    why_none: Callable[[str], str] = lambda pattern: "",
) -> dict[int, C]:
    """Groups whose choice is given: `output=Q8_0,blk.0.*=Q6_K`.

    choice    reads the text of a group's choice. Raises E402 for what that may not be
    why_none  why a pattern names no layer, if that is known
    Raises E402 for a pattern that names no layer, and for a group fixed twice.
    """
    given: dict[int, C] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        pattern, equals, word = (part.strip() for part in entry.partition("="))
        if not equals or not pattern:
            raise error("E402", f"'{entry}' fixes nothing", f"write --fix '{example}'")
        matching = [
            g
            for g, layers in enumerate(groups)
            if any(fnmatchcase(names[i], pattern) for i in layers)
        ]
        if not matching:
            message = why_none(pattern) or f"'{pattern}' names no layer"
            raise error("E402", message, *nearest(pattern, names), _some(names))
        for group in matching:
            wanted = choice(group, word)
            if given.setdefault(group, wanted) != wanted:
                name = names[groups[group][0]]
                raise error("E402", f"layer '{name}' is fixed to {given[group]} and to {wanted}")
    return given


def _expression(pattern: str) -> re.Pattern[str]:
    parts = (re.sub(r"\\[Zz]$", "", translate(part)) for part in pattern.split("{}"))
    return re.compile("(.+?)".join(parts))


def _some(names: Sequence[str]) -> str:
    return f"its layers are {', '.join(names[:SHOWN])}" + (", ..." if len(names) > SHOWN else "")
