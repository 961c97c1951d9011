"""Groups whose choice the user has fixed.

Texts are `conv1=8,fc=8` or `layer1.*=W4A8`; a pattern names layers and fixes their groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np

from emqlang.grammar.diagnostics import error, nearest
from emqlang.quant.bits.exact import Bools
from emqlang.quant.bits.menu import Choice, parse_choice
from emqlang.quant.networks.layers import Collection

SHOWN = 8  # names of layers in a help line
Fixed = Mapping[int, Choice]  # group -> its choice


def parse_fixed(text: str, collection: Collection, joint: bool) -> Fixed:
    """What `--fix` fixes; `joint` says that choices are of activation bits too.

    Raises E402 for a pattern that names no layer, a group fixed twice, or bits of the wrong form.
    """
    fixed: dict[int, Choice] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        pattern, equals, bits = (part.strip() for part in entry.partition("="))
        if not equals or not pattern:
            raise error("E402", f"'{entry}' fixes nothing", "write --fix 'conv1=8,layer4.*=4'")
        groups = _matching(pattern, collection)
        choice = _choice(bits, joint)
        for group in groups:
            if fixed.get(group, choice) != choice:
                name = collection.groups[group].name
                raise error("E402", f"group '{name}' is fixed to {fixed[group]} and to {choice}")
            fixed[group] = choice
    return fixed


def extended(menu: Sequence[Choice], fixed: Fixed) -> tuple[Choice, ...]:
    """The menu with the fixed choices that it lacks; only fixed groups may take those."""
    return tuple(dict.fromkeys((*menu, *fixed.values())))


def allowed(menu: Sequence[Choice], fixed: Fixed, groups: int) -> Bools:
    """(groups, choices of the extended menu): what each group may take."""
    choices = extended(menu, fixed)
    table = np.tile(np.array([choice in menu for choice in choices]), (groups, 1))
    for group, choice in fixed.items():
        table[group] = [other == choice for other in choices]
    return table


def _matching(pattern: str, collection: Collection) -> list[int]:
    """Groups of which some layer's name matches. Raises E402 where there are none."""
    names = [layer.name for layer in collection.layers]
    matching = [
        number
        for number, group in enumerate(collection.groups)
        if any(fnmatchcase(names[i], pattern) for i in group.layers)
    ]
    if not matching:
        message = collection.why_none(pattern) or f"'{pattern}' names no layer of this network"
        some = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
        raise error("E402", message, *nearest(pattern, names), f"its layers are {some}")
    return matching


def _choice(text: str, joint: bool) -> Choice:
    choice = parse_choice(text)
    if joint != (choice.act_bits is not None):
        help = "write W4A8 for a menu of pairs, and 4 for a menu of weight bits"
        raise error("E402", f"'{text}' does not fit the menu", help)
    return choice
