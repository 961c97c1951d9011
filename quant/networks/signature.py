"""What a network takes of a batch: which of its parts are inputs, and which are labels."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter
from typing import Any, Final

from torch import Tensor, nn

from emqlang.grammar.diagnostics import error
from emqlang.quant.networks.nested import children, is_record
from emqlang.quant.user_code import load_function

Forward = Callable[[nn.Module, Any], Any]
# A mapping's entries that are labels, and those that are a network's one input whatever it calls it
LABEL_KEYS: Final = ("labels", "label", "targets", "target", "y")
INPUT_KEYS: Final = (
    *("images", "image", "pixel_values", "inputs", "input", "input_ids", "x"),
    *("input_values", "input_features"),
)


@dataclass(frozen=True)
class Signature:
    """How a network is given a batch: by position or by keyword, and never its labels.

    A batch is a tensor of inputs; or a sequence of inputs, labels and anything more, where several
    inputs are its first parts or are nested in the first; or a mapping or dataclass, its labels
    under one of LABEL_KEYS, its inputs beside them or in a mapping of their own. A named tuple
    is a sequence; a field that is called like a label holds the labels, wherever it stands.

    count     how many inputs a sequence begins with
    names     parameters that take inputs by keyword; None if the forward takes any
    required  those of them that it cannot do without
    own       the user's `forward(module, batch)`, which decides what is fed if there is one
    """

    count: int = 1
    names: frozenset[str] | None = None
    required: frozenset[str] = frozenset()
    own: Forward | None = None

    @classmethod
    def of(cls, module: nn.Module, example: Any = None, *, own: Forward | None = None) -> Signature:
        """By the parameters of its forward, and an example of its arguments if there is one.

        example  a tensor, a tuple or list of arguments, or a mapping of named ones
        """
        try:
            parameters = inspect.signature(module.forward).parameters.values()
        except (TypeError, ValueError):  # it is not written in Python
            return cls(own=own)
        named = [each for each in parameters if each.kind in _NAMED]
        needed = [each.name for each in named if each.default is Parameter.empty]
        any_name = any(each.kind is Parameter.VAR_KEYWORD for each in parameters)
        count = len(example) if isinstance(example, (tuple, list)) else max(1, len(needed))
        if isinstance(example, Tensor):
            count = 1
        names = None if any_name else frozenset(each.name for each in named)
        return cls(count, names, frozenset(needed), own)

    def forward(self, model: nn.Module, batch: Any) -> Any:
        """What the network returns for the inputs of a batch. Raises E304 as `inputs`."""
        if self.own is not None:
            return self.own(model, batch)
        arguments, named = self.inputs(batch)
        return model(*arguments, **named)

    def inputs(self, batch: Any) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """The network's arguments, by position and by keyword.

        Raises E304 for a mapping of several inputs that have other names than its parameters.
        """
        if isinstance(batch, (tuple, list)):
            batch = self._ordered(batch)
            if not self._nested(batch):
                return batch[: self.count], {}
            if self.count > 1 and isinstance(batch[0], (tuple, list)):
                return batch[0], {}
            batch = batch[0]
        parts = children(batch) or {}
        if isinstance(batch, Mapping) or (is_record(batch) and self._opens(parts)):
            return self._named(parts)
        return [batch], {}

    def parts(self, batch: Any) -> Any:
        """What of a batch is given to the network, whatever its own function makes of it."""
        if isinstance(batch, (tuple, list)):
            batch = self._ordered(batch)
            return batch[:1] if self._nested(batch) else batch[: self.count]
        entries = children(batch)
        if entries is None:
            return batch
        return {key: part for key, part in entries.items() if key not in self._label_keys}

    def labels(self, batch: Any) -> Any:
        """The labels of a batch; None if it has none."""
        if isinstance(batch, (tuple, list)):
            batch = self._ordered(batch)
            place = 1 if self._nested(batch) else self.count
            return batch[place] if len(batch) > place else None
        parts = children(batch) or {}
        return next((parts[key] for key in self._label_keys if key in parts), None)

    @property
    def _label_keys(self) -> tuple[str, ...]:
        """A network may take an input that is called like a label."""
        return tuple(key for key in LABEL_KEYS if key not in self.required)

    def _ordered(self, batch: Sequence[Any]) -> Sequence[Any]:
        """Inputs, labels and the rest of a sequence; of a named tuple, by its labels' name."""
        fields = getattr(batch, "_fields", ())
        found = next((fields.index(key) for key in self._label_keys if key in fields), None)
        if found is None:
            return batch
        rest = [part for place, part in enumerate(batch) if place != found]
        place = 1 if self._nested(rest) else self.count
        return [*rest[:place], batch[found], *rest[place:]]

    def _opens(self, parts: Mapping[Any, Any]) -> bool:
        """Whether a dataclass's fields are given to the forward, and not the object.

        They are if they are named as its parameters are; or if there is one, and the one parameter
        is called as an input is.
        """
        left = parts.keys() - set(self._label_keys)
        alone = len(left) == 1 and len(self.required) == 1 and self.required <= set(INPUT_KEYS)
        return alone or self._takes(parts)

    def _nested(self, batch: Sequence[Any]) -> bool:
        """Whether the first part of a batch holds all of the inputs."""
        inside = children(batch[0]) if batch else None
        if inside is None or isinstance(batch[0], Mapping):
            return inside is not None
        return self.count in (1, len(inside))

    def _named(self, entries: Mapping[Any, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """The arguments that these entries are."""
        labels = self._label_keys
        parts = {key: part for key, part in entries.items() if key not in labels}
        if self._takes(parts) and (self.names is not None or len(parts) > 1):
            taken = parts if self.names is None else self.names
            return [], {key: part for key, part in parts.items() if key in taken}
        usual = [key for key in INPUT_KEYS if key in parts]
        if len(parts) > 1 and len(usual) == 1:
            parts = {usual[0]: parts[usual[0]]}
        if len(parts) == 1:
            (part,) = parts.values()
            return self.inputs(part) if isinstance(part, Mapping) else ([part], {})
        given, wanted = (", ".join(sorted(map(repr, names))) for names in (parts, self.required))
        raise error(
            "E304",
            f"a batch holds {given}, and the network's forward takes {wanted}",
            "name them as its parameters are named, or say how a batch is fed: "
            "--forward file.py:function",
        )

    def _takes(self, parts: Mapping[Any, Any]) -> bool:
        """Whether the parts hold, by name, what the forward cannot do without."""
        if not all(isinstance(key, str) for key in parts):
            return False
        known = parts.keys() if self.names is None else self.names & parts.keys()
        return bool(known) and self.required <= parts.keys()


def load_forward(reference: str | None) -> Forward | None:
    """A `forward(module, batch)` of the user's own, as `file.py:function`. Raises E301, E403."""
    return load_function(reference, "forward(module, batch)") if reference else None


_NAMED: Final = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
