"""Groups whose choice the user has fixed.

Texts are `conv1=8,fc=8` or `layer1.*=W4A8`; a pattern names layers and fixes their groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from emqlang.grammar.diagnostics import error
from emqlang.quant.bits import patterns
from emqlang.quant.bits.exact import Bools
from emqlang.quant.bits.menu import Choice, parse_choice
from emqlang.quant.networks.layers import Collection

Fixed = Mapping[int, Choice]  # group -> its choice


def parse_fixed(text: str, collection: Collection, joint: bool) -> Fixed:
    """What `--fix` fixes; `joint` says that choices are of activation bits too.

    Raises E402 for a pattern that names no layer, a group fixed twice, or bits of the wrong form.
    """
    return patterns.fixed(
        [layer.name for layer in collection.layers],
        tuple(group.layers for group in collection.groups),
        text,
        lambda group, word: _choice(word, joint),
        "conv1=8,layer4.*=4",
        collection.why_none,
    )


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


def _choice(text: str, joint: bool) -> Choice:
    choice = parse_choice(text)
    if joint != (choice.act_bits is not None):
        help = "write W4A8 for a menu of pairs, and 4 for a menu of weight bits"
        raise error("E402", f"'{text}' does not fit the menu", help)
    return choice
