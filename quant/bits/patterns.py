"""Layers by patterns, where there is no network: which are tied, and whose choice is fixed.

A pattern is the shell's: `*`, `?`, `[qkv]`; and `{}` is text that must be the same in tied names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase, translate

from emqlang.grammar.diagnostics import error, nearest

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
    names: Sequence[str], groups: Groups, text: str, options: Sequence[Sequence[str]]
) -> dict[int, str]:
    """Groups whose choice is given: `output=Q8_0,blk.0.*=Q6_K`.

    options  what each group may choose
    Raises E402 for a pattern that names no layer, a group fixed twice, or what it may not choose.
    """
    given: dict[int, str] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        pattern, equals, choice = (part.strip() for part in entry.partition("="))
        if not equals or not pattern:
            raise error("E402", f"'{entry}' fixes nothing", "write --fix 'output=Q8_0'")
        matching = [
            g
            for g, layers in enumerate(groups)
            if any(fnmatchcase(names[i], pattern) for i in layers)
        ]
        if not matching:
            close = nearest(pattern, names)
            raise error("E402", f"'{pattern}' names no layer", *close, _some(names))
        for group in matching:
            name = names[groups[group][0]]
            if choice not in options[group]:
                may = f"it may choose {', '.join(options[group])}"
                message = f"layer '{name}' has no choice '{choice}'"
                raise error("E402", message, *nearest(choice, options[group]), may)
            if given.setdefault(group, choice) != choice:
                raise error("E402", f"layer '{name}' is fixed to {given[group]} and to {choice}")
    return given


def _expression(pattern: str) -> re.Pattern[str]:
    parts = (re.sub(r"\\[Zz]$", "", translate(part)) for part in pattern.split("{}"))
    return re.compile("(.+?)".join(parts))


def _some(names: Sequence[str]) -> str:
    return f"layers are {', '.join(names[:SHOWN])}" + (", ..." if len(names) > SHOWN else "")
