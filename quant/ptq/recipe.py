"""The recipe: which bits every layer of which network gets, why, and what came of it, as one JSON file.

PTQ, QAT and export read the same recipe. Field names of a layer's quantizers are those of compressed-tensors.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from emqlang.grammar.diagnostics import EmqError, error, nearest
from emqlang.store import write_atomically

SCHEMA = "emqlang-recipe"
SCHEMA_VERSION = 1
INPUT_BITS = 8  # of the tensor that the network itself is given
PLACEMENTS = ("operands",)
BITS = range(2, 9)
Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Scheme:
    """How one tensor is quantized.

    strategy  'channel': a scale for every output channel; 'tensor': one for all
    observer  how the range is found: 'mse', 'minmax' or 'percentile'
    """

    num_bits: int
    strategy: str
    type: str = "int"
    symmetric: bool = False
    dynamic: bool = False
    observer: str = "mse"


@dataclass(frozen=True)
class LayerRecipe:
    """A layer's weight and its input; None is left in floating point."""

    weight: Scheme | None
    input: Scheme | None


@dataclass(frozen=True)
class ModelIdentity:
    """Which network the recipe is for; the hash is of its weights before folding."""

    name: str
    weights_sha256: str


@dataclass(frozen=True)
class Proxy:
    """What the bits were chosen by: its text, and its canonical key."""

    text: str
    key: str


@dataclass(frozen=True)
class Solver:
    """How the bits were found: `gap` is how much better another choice could score; None if unknown."""

    method: str
    status: str
    gap: float | None = None


@dataclass(frozen=True)
class Procedure:
    """How the network was quantized with these bits."""

    rounding: str
    images: int
    iterations: int = 0
    bias_correction: bool = False
    fisher: bool = False
    step_iterations: int = 0


@dataclass(frozen=True)
class Recipe:
    """See the file's own docstring.

    budget     quantity -> limit as written ('size' -> '4.5MiB')
    achieved   quantity -> what the choice costs, in the quantity's smallest unit
    procedure  None until the network is quantized
    versions   package -> version
    """

    model: ModelIdentity
    layers: Mapping[str, LayerRecipe]
    proxy: Proxy | None = None
    budget: Mapping[str, str] = field(default_factory=dict)
    accounting: str = "full"
    achieved: Mapping[str, float] = field(default_factory=dict)
    solver: Solver | None = None
    procedure: Procedure | None = None
    placement: str = PLACEMENTS[0]
    seed: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    schema: str = SCHEMA
    schema_version: int = SCHEMA_VERSION

    @property
    def bits(self) -> dict[str, int]:
        """Layer -> weight bits, of the layers that are quantized."""
        return {
            name: entry.weight.num_bits
            for name, entry in self.layers.items()
            if entry.weight is not None
        }

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=2, allow_nan=False) + "\n"

    def save(self, path: Path) -> None:
        write_atomically(path, lambda file: file.write_text(self.as_json(), encoding="utf-8"))


def scheme(bits: int, strategy: str, **settings: Any) -> Scheme:
    """A scheme of 2 to 8 bits; anything else is E310."""
    built = Scheme(bits, strategy, **settings)
    _check_scheme(built, "the scheme")
    return built


def weight_scheme(bits: int, *, symmetric: bool = False) -> Scheme:
    return scheme(bits, "channel", symmetric=symmetric)


def input_scheme(bits: int, *, observer: str = "mse") -> Scheme:
    return scheme(bits, "tensor", observer=observer)


def uniform(
    model: ModelIdentity,
    layers: Mapping[str, Any] | list[str],
    weight_bits: int,
    act_bits: int | None,
) -> Recipe:
    """The same bits for every layer; `act_bits` None leaves the activations in floating point."""
    given = None if act_bits is None else input_scheme(act_bits)
    return Recipe(model, {name: LayerRecipe(weight_scheme(weight_bits), given) for name in layers})


def load_recipe(path: Path) -> Recipe:
    """The recipe in a file. E301 if it cannot be read, E310 if it is not a recipe."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as reason:
        raise error("E301", f"cannot read the recipe: {reason}", path=str(path)) from reason
    return parse_recipe(text, str(path))


def parse_recipe(text: str, path: str = "") -> Recipe:
    """The recipe that `as_json` wrote. E310 names the field that is wrong."""
    try:
        record = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as reason:
        raise error("E310", f"this is not JSON: {reason}", path=path) from reason
    try:
        return _read_recipe(record)
    except EmqError as failure:
        raise EmqError(*(_at(diagnostic, path) for diagnostic in failure.diagnostics)) from None


def check_fits(recipe: Recipe, model: ModelIdentity, layers: list[str]) -> None:
    """Raises E311 if the recipe is for another network, or its layers are not exactly these."""
    if recipe.model.weights_sha256 != model.weights_sha256:
        theirs, ours = recipe.model.weights_sha256[:12], model.weights_sha256[:12]
        raise error(
            "E311",
            f"the recipe is for {recipe.model.name} with weights {theirs}, and this is {model.name} with weights {ours}",
            "give the network and weights it was made for, or make a recipe for this one",
        )
    for name in recipe.layers:
        if name not in layers:
            raise error(
                "E311",
                f"the recipe has a layer '{name}', which the network lacks",
                *nearest(name, layers),
            )
    missing = [name for name in layers if name not in recipe.layers]
    if missing:
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise error(
            "E311",
            f"the recipe lacks layer '{missing[0]}'{others}",
            "a layer that stays in float is written as null",
        )


def _read_recipe(record: Any) -> Recipe:
    _check_schema(record)
    values = _values(Recipe, record, "the recipe")
    layers = {
        name: _read_layer(value, f"layer '{name}'")
        for name, value in _mapping(values["layers"], "layers").items()
    }
    nested: dict[str, Any] = {
        name: None if values[name] is None else _simple(kind, values[name], name)
        for name, kind in (("proxy", Proxy), ("solver", Solver), ("procedure", Procedure))
        if name in values
    }
    maps: dict[str, Any] = {
        name: _amounts(values[name], name, kinds) for name, kinds in _MAPS.items() if name in values
    }
    model = _simple(ModelIdentity, values["model"], "model")
    plain: dict[str, Any] = {
        name: values[name] for name in ("accounting", "placement", "seed") if name in values
    }
    _check_types(Recipe, plain, "the recipe")
    recipe = Recipe(model=model, layers=layers, **nested, **maps, **plain)
    if recipe.placement not in PLACEMENTS:
        raise error(
            "E310",
            f"placement '{recipe.placement}' is unknown",
            f"placements: {', '.join(PLACEMENTS)}",
        )
    return recipe


_MAPS: dict[str, tuple[type, ...]] = {
    "budget": (str,),
    "achieved": (int, float),
    "versions": (str,),
}


def _check_schema(record: Any) -> None:
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise error(
            "E310", "this is not a recipe", f'a recipe is a JSON object with "schema": "{SCHEMA}"'
        )
    if record.get("schema_version") != SCHEMA_VERSION:
        raise error(
            "E310",
            f"the recipe's schema_version is {record.get('schema_version')}, and this program reads {SCHEMA_VERSION}",
        )


def _read_layer(record: Any, where: str) -> LayerRecipe:
    values = _values(LayerRecipe, record, where)
    schemes: dict[str, Scheme | None] = {}
    for part, value in values.items():
        schemes[part] = None if value is None else _simple(Scheme, value, f"the {part} of {where}")
        if (given := schemes[part]) is not None:
            _check_scheme(
                given, f"the {part} of {where}", "channel" if part == "weight" else "tensor"
            )
    return LayerRecipe(schemes["weight"], schemes["input"])


_ALLOWED: dict[str, tuple[Any, ...]] = {
    "num_bits": tuple(BITS),
    "strategy": ("channel", "tensor"),
    "type": ("int",),
    "dynamic": (False,),
    "observer": ("mse", "minmax", "percentile"),
}


def _check_scheme(scheme: Scheme, where: str, strategy: str | None = None) -> None:
    for name, allowed in _ALLOWED.items():
        value = getattr(scheme, name)
        if value not in allowed:
            choices = ", ".join(json.dumps(choice) for choice in allowed)
            raise error("E310", f"{name} of {where} is {json.dumps(value)}", f"it may be {choices}")
    if strategy is not None and scheme.strategy != strategy:
        raise error(
            "E310", f"strategy of {where} is '{scheme.strategy}'", f"it may be '{strategy}'"
        )
    if scheme.strategy == "tensor" and scheme.symmetric:
        raise error("E310", f"{where} is symmetric", "activations are quantized asymmetrically")


def _simple(kind: type[Kind], record: Any, where: str) -> Kind:
    """An instance of a dataclass whose fields are plain values."""
    values = _values(kind, record, where)
    _check_types(kind, values, where)
    return kind(**values)


def _values(kind: type, record: Any, where: str) -> dict[str, Any]:
    """The fields of a record: none unknown, none missing that has no default."""
    values = _mapping(record, where)
    known = {spec.name: spec for spec in fields(kind)}
    for name in values:
        if name not in known:
            raise error("E310", f"{where} has an unknown field '{name}'", *nearest(name, known))
    needed = [name for name, spec in known.items() if _required(spec) and name not in values]
    if needed:
        raise error("E310", f"{where} lacks the field '{needed[0]}'")
    return values


def _required(spec: Any) -> bool:
    return spec.default is MISSING and spec.default_factory is MISSING


def _check_types(kind: type, values: Mapping[str, Any], where: str) -> None:
    hints = get_type_hints(kind)
    for name, value in values.items():
        hint = hints[name]
        accepted = {float | None: (float, int, type(None)), float: (float, int)}.get(hint, hint)
        wrong_bool = isinstance(value, bool) and hint is not bool
        if (
            wrong_bool
            or not isinstance(value, accepted)
            or (isinstance(value, float) and not math.isfinite(value))
        ):
            raise error(
                "E310", f"{name} of {where} is {json.dumps(value)[:40]}, which is not of its type"
            )


def _mapping(record: Any, where: str) -> dict[str, Any]:
    if not isinstance(record, dict):
        raise error("E310", f"{where} is not a JSON object")
    return record


def _amounts(record: Any, where: str, kinds: tuple[type, ...]) -> dict[str, Any]:
    values = _mapping(record, where)
    for name, value in values.items():
        if (
            isinstance(value, bool)
            or not isinstance(value, kinds)
            or (isinstance(value, float) and not math.isfinite(value))
        ):
            raise error(
                "E310", f"'{name}' of {where} is {json.dumps(value)[:40]}, which is not of its type"
            )
    return values


def _at(diagnostic: Any, path: str) -> Any:
    return replace(diagnostic, path=path)
