"""What outputs say of a network, without its modules: it can be kept, and read without torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from emqlang.grammar.diagnostics import Diagnostic


@dataclass(frozen=True)
class Group:
    """Layers, by index, that take one choice together.

    A group is named after `main`, the layer whose statistics stand for its sensitivity.
    """

    name: str
    layers: tuple[int, ...]
    main: int


@dataclass(frozen=True)
class LayerFacts:
    """A layer's name, its torch type, and its weight's shape as torch lays it out."""

    name: str
    type: str
    shape: tuple[int, ...]
    numel: int


@dataclass(frozen=True)
class CollectionFacts:
    """The layers of a network and their groups; the fields are those of `Collection`."""

    layers: tuple[LayerFacts, ...]
    groups: tuple[Group, ...]
    unreached: tuple[str, ...]
    shared: dict[str, str]

    def why_none(self, pattern: str) -> str:
        """Why a name, or a pattern of names, is no layer's; empty where nothing is known of it."""
        return why_none(pattern, self.shared, self.unreached)


@dataclass(frozen=True)
class NetworkFacts:
    """The fields are those of `Network`."""

    name: str
    weights: str
    weights_sha256: str
    parameters: int
    warnings: tuple[Diagnostic, ...]
    collection: CollectionFacts


def why_none(pattern: str, shared: Mapping[str, str], unreached: Iterable[str]) -> str:
    """Why a pattern of names is no layer's: it shares another's weight, or the forward skips it."""
    for name, owner in shared.items():
        if fnmatchcase(name, pattern):
            return f"'{name}' shares its weight with '{owner}', and has its bits"
    for name in unreached:
        if fnmatchcase(name, pattern):
            return f"'{name}' is not used for the rows looked at, and stays in float"
    return ""
