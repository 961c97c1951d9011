"""Tensors nested in tuples, lists, mappings and dataclasses, as batches and outputs hold them.

torch's own pytree knows exact types alone, and tokenizers and model libraries return subclasses of
dict, mappings and dataclasses of their own. Here containers are known by what they can do, and a
changed copy has the original's type.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

from torch import Tensor

DEPTH = 32  # levels of nesting that are looked into


def tensors(tree: Any) -> list[Tensor]:
    """The tensors in a nest, in order."""
    return [leaf for leaf in leaves(tree) if isinstance(leaf, Tensor)]


def leaves(tree: Any, depth: int = DEPTH) -> Iterator[Any]:
    """Everything in a nest that holds nothing else, in order."""
    parts = children(tree) if depth else None
    if parts is None:
        yield tree
        return
    for part in parts.values():
        yield from leaves(part, depth - 1)


def mapped(function: Callable[..., Any], tree: Any, *others: Any, depth: int = DEPTH) -> Any:
    """A nest with every tensor replaced by what the function makes of it.

    others  nests of the same structure: the function is given their parts in the same place, too
    """
    if isinstance(tree, Tensor):
        return function(tree, *others)
    parts = children(tree) if depth else None
    if not parts or not tensors(tree):
        return tree
    beside = [children(other) or {} for other in others]
    return rebuilt(
        tree,
        {
            key: mapped(function, part, *(other[key] for other in beside), depth=depth - 1)
            for key, part in parts.items()
        },
    )


def children(node: Any) -> dict[Any, Any] | None:
    """What a node holds, by key, position or field name; None of a leaf."""
    if isinstance(node, Mapping):
        return {key: node[key] for key in node}
    if isinstance(node, list | tuple):
        return dict(enumerate(node))
    if is_record(node):
        return {name: getattr(node, name) for name in _fields(node) if hasattr(node, name)}
    return None


def is_record(node: Any) -> bool:
    """Whether this is an object of a dataclass, or of a class that attrs made."""
    return not isinstance(node, type) and bool(_fields(node))


def _fields(node: Any) -> list[str]:
    fields = getattr(type(node), "__attrs_attrs__", ())
    if dataclasses.is_dataclass(node):
        fields = dataclasses.fields(node)
    return [field.name for field in fields]


def structure(tree: Any) -> Any:
    """The keys, row shapes and types of a nest's tensors, and its numbers, which have no rows:
    nests with equal ones can be joined."""
    if isinstance(tree, Tensor):
        return (tuple(tree.shape[1:]), tree.dtype) if tree.ndim else ((), tree.dtype)
    parts = children(tree)
    if isinstance(tree, int | float):
        return tree
    if parts is None:
        return type(tree)
    return tuple((key, structure(part)) for key, part in parts.items())


def rebuilt(node: Any, parts: dict[Any, Any]) -> Any:
    """The node with other parts."""
    if isinstance(node, MutableMapping):
        fresh = copy.copy(node)
        try:
            for key, part in parts.items():
                fresh[key] = part
            return fresh
        except (TypeError, ValueError, RuntimeError):  # a mapping that checks or forbids its values
            return parts
    if isinstance(node, Mapping):
        return parts
    if isinstance(node, tuple) and hasattr(node, "_fields"):
        return type(node)(*parts.values())
    if isinstance(node, list | tuple):
        return _sequence(node, list(parts.values()))
    fresh = copy.copy(node)
    for name, part in parts.items():
        object.__setattr__(fresh, name, part)  # of frozen dataclasses too
    return fresh


def _sequence(node: Any, parts: list[Any]) -> Any:
    if type(node) in (list, tuple):
        return type(node)(parts)
    try:
        return type(node)(parts)
    except TypeError:  # a subclass with a constructor of its own
        return parts if isinstance(node, list) else tuple(parts)
