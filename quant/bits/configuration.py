"""A configuration: one choice for every group, as lists and files write it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from emqlang.grammar.diagnostics import error, nearest
from emqlang.quant.bits.menu import Choice, parse_choice
from emqlang.quant.networks.facts import CollectionFacts
from emqlang.quant.records import read_json, typed
from emqlang.store import is_file

if TYPE_CHECKING:
    from emqlang.quant.networks.layers import Collection

Layers: TypeAlias = "Collection | CollectionFacts"

# 4 per group, or 'W4A8' where activation bits are chosen too; in order, or by layers' names
FORM: Any = list[int | str] | dict[str, int | str]


def configuration_text(choices: Iterable[Choice]) -> str:
    """The list that `read_configuration` reads: 4,4,2,... or W4A8,W2A8,..."""
    return ",".join(str(choice.entry) for choice in choices)


def read_configuration(text: str, collection: Layers) -> tuple[Choice, ...]:
    """A choice per group, from a list as OMPQ and EMQ print it, or from a JSON file.

    A list has one entry per group, or per layer, in the network's order, or one for all. A JSON
    object names at least one layer of every group, by its qualified name. Raises E301, E402.
    """
    path = Path(text)
    if text.strip().startswith("[") or (path.suffix != ".json" and not is_file(path)):
        return read_list(text, collection)
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as failure:
        message = f"the configuration cannot be read: {failure}"
        raise error("E301", message, path=text) from failure
    return _from_json(content, text, collection)


def read_list(text: str, collection: Layers) -> tuple[Choice, ...]:
    """As `read_configuration`, of a list alone, never of a file. Raises E402."""
    if text.strip().startswith("["):
        return _from_json(text, "", collection)
    return _from_list(text.split(","), collection)


def _from_json(text: str, path: str, collection: Layers) -> tuple[Choice, ...]:
    name = "the configuration"
    record = typed(read_json(text, "E402", name, path), FORM, "E402", name, path)
    if isinstance(record, dict):
        return _from_names({layer: str(entry) for layer, entry in record.items()}, collection)
    return _from_list(list(map(str, record)), collection)


def _from_list(entries: Sequence[str], collection: Layers) -> tuple[Choice, ...]:
    groups, layers = collection.groups, collection.layers
    choices = [parse_choice(entry.strip()) for entry in entries]
    if len(choices) == 1:
        return tuple(choices * len(groups))
    if len(choices) == len(groups):
        return tuple(choices)
    if len(choices) == len(layers):
        pairs = zip(_names(collection), choices, strict=True)
        return _from_names({name: str(choice) for name, choice in pairs}, collection)
    raise error(
        "E402",
        f"the configuration has {len(choices)} entries; this network has {len(groups)} groups "
        f"and {len(layers)} layers",
        f"the groups are {', '.join(group.name for group in groups)}",
    )


def _from_names(record: Mapping[str, str], collection: Layers) -> tuple[Choice, ...]:
    names = _names(collection)
    for name in record:
        if name not in names:
            message = collection.why_none(name) or f"this network has no layer '{name}'"
            raise error("E402", message, *nearest(name, names))
    choices = []
    for group in collection.groups:
        layers = [names[i] for i in group.layers if names[i] in record]
        bits = {record[name]: name for name in layers}
        if not bits:
            raise error("E402", f"the configuration lacks '{group.name}'")
        if len(bits) > 1:
            tied, different = " and ".join(bits.values()), " and ".join(bits)
            raise error("E402", f"tied layers {tied} have different bits: {different}")
        choices.append(parse_choice(next(iter(bits))))
    return tuple(choices)


def _names(collection: Layers) -> list[str]:
    layers: Iterable[Any] = collection.layers
    return [layer.name for layer in layers]
