"""Choices that are not free: groups whose bits the user has fixed, and configurations that others published.

Texts are `conv1=8,fc=8` or `layer1.*=W4A8`; a pattern names layers, and fixes the groups they are in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from emqlang.grammar.diagnostics import EmqError, error, nearest
from emqlang.quant.bits.knapsack import Bools
from emqlang.quant.bits.menu import Choice, parse_bits, parse_menu
from emqlang.quant.networks.layers import Collection

Fixed = Mapping[int, Choice]  # group -> its choice


def parse_fixed(text: str, collection: Collection, joint: bool) -> Fixed:
    """What `--fix` fixes. Raises E402 for a pattern that names no layer, a group fixed twice, or bits of the wrong form."""
    fixed: dict[int, Choice] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        pattern, equals, bits = (part.strip() for part in entry.partition("="))
        if not equals or not pattern:
            raise error("E402", f"'{entry}' fixes nothing", "write --fix 'conv1=8,layer4.*=4'")
        groups = _matching(pattern, collection)
        if not groups:
            names = [layer.name for layer in collection.layers]
            raise error(
                "E402", f"'{pattern}' names no layer of this network", *nearest(pattern, names)
            )
        choice = _choice(bits, joint)
        for group in groups:
            if fixed.get(group, choice) != choice:
                raise error(
                    "E402",
                    f"group '{collection.groups[group].name}' is fixed to {fixed[group]} and to {choice}",
                )
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


def read_configuration(text: str, collection: Collection) -> tuple[Choice, ...]:
    """A choice a group, from a list as OMPQ and EMQ print it, or from a JSON file of layer names to bits.

    A list has one number a group, or one a layer, in the network's order, or one for all. A JSON object names at least one
    layer of every group, by its qualified name. Raises E301, E402.
    """
    if text.strip().startswith("["):
        return _from_list([str(entry) for entry in _json(text, "")], collection)
    path = Path(text)
    if path.suffix == ".json" or path.is_file():
        try:
            record = _json(path.read_text(encoding="utf-8"), text)
        except (OSError, UnicodeDecodeError) as failure:
            raise error(
                "E301", f"the configuration cannot be read: {failure}", path=text
            ) from failure
        return (
            _from_list(list(map(str, record)), collection)
            if isinstance(record, list)
            else _from_names(record, collection)
        )
    return _from_list(text.split(","), collection)


def _from_list(entries: Sequence[str], collection: Collection) -> tuple[Choice, ...]:
    groups, layers = collection.groups, collection.layers
    choices = [_choice(entry.strip(), None) for entry in entries]
    if len(choices) == 1:
        return tuple(choices * len(groups))
    if len(choices) == len(groups):
        return tuple(choices)
    if len(choices) == len(layers):
        return _from_names(
            {layer.name: str(choice) for layer, choice in zip(layers, choices, strict=True)},
            collection,
        )
    raise error(
        "E402",
        f"the configuration has {len(choices)} entries; this network has {len(groups)} groups and {len(layers)} layers",
        f"the groups are {', '.join(group.name for group in groups)}",
    )


def _from_names(record: object, collection: Collection) -> tuple[Choice, ...]:
    if not isinstance(record, dict):
        raise error("E402", "a JSON configuration is a list, or an object of layer names to bits")
    names = {layer.name: layer.index for layer in collection.layers}
    for name in record:
        if name not in names:
            raise error("E402", f"'{name}' is no layer of this network", *nearest(str(name), names))
    found = []
    for group in collection.groups:
        given = {
            str(record[collection.layers[i].name]): collection.layers[i].name
            for i in group.layers
            if collection.layers[i].name in record
        }
        if not given:
            raise error("E402", f"the configuration lacks '{group.name}'")
        if len(given) > 1:
            raise error(
                "E402",
                f"tied layers {' and '.join(given.values())} have different bits: {' and '.join(given)}",
            )
        found.append(_choice(next(iter(given)), None))
    return tuple(found)


def _matching(pattern: str, collection: Collection) -> list[int]:
    """Groups of which some layer's name matches."""
    return [
        number
        for number, group in enumerate(collection.groups)
        if any(fnmatchcase(collection.layers[i].name, pattern) for i in group.layers)
    ]


def _choice(text: str, joint: bool | None) -> Choice:
    """`4` or `W4A8`; `joint` says which it must be, None that either will do."""
    try:
        (choice,) = parse_menu(text) if "A" in text else parse_bits(text.removeprefix("W"))
    except EmqError as failure:
        raise error(
            "E402",
            f"'{text}' is no choice",
            "write bits as 4, or W4A8 where activation bits are chosen too",
        ) from failure
    if joint is not None and joint != (choice.act_bits is not None):
        raise error(
            "E402",
            f"'{text}' does not fit the menu",
            "write W4A8 for a menu of pairs, and 4 for a menu of weight bits",
        )
    return choice


def _json(text: str, path: str) -> list[object] | dict[str, object]:
    try:
        record = json.loads(text)
    except json.JSONDecodeError as failure:
        raise error("E402", f"the configuration is no JSON: {failure.msg}", path=path) from failure
    if not isinstance(record, (list, dict)):
        raise error(
            "E402", "a JSON configuration is a list, or an object of layer names to bits", path=path
        )
    return record
