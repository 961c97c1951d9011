"""The recipe: which bits every layer of which network gets, why, and what came of it, as JSON.

PTQ, QAT and export read the same recipe. Field names of a layer's quantizers are those of
compressed-tensors.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import UNSET, Struct, UnsetType, field
from msgspec.structs import replace

from emqlang.grammar.diagnostics import error, nearest
from emqlang.quant.records import Saved, read_json, typed
from emqlang.store import as_path

SCHEMA = "emqlang-recipe"
SCHEMA_VERSION = 1
ROUNDINGS = ("nearest", "adaround", "brecq")
INPUT_BITS = 8  # of the tensor that the network itself is given
PLACEMENTS = ("operands",)
ACCOUNTINGS = ("full", "weights", "emq")
STATUSES = ("optimal", "feasible", "best found", "polished", "given")
BITS = range(2, 9)
ALLOWED: Mapping[str, tuple[Any, ...]] = {  # field of a scheme -> its values
    "num_bits": tuple(BITS),
    "strategy": ("channel", "tensor"),
    "type": ("int",),
    "dynamic": (False,),
    "observer": ("mse", "minmax", "percentile"),
}


class Scheme(Struct, frozen=True, forbid_unknown_fields=True):
    """How one tensor is quantized.

    strategy  'channel': a scale for every output channel; 'tensor': one for all
    observer  how the range is found: 'mse', 'minmax' or 'percentile'
    Raises ValueError for values that are not ALLOWED.
    """

    num_bits: int
    strategy: str
    type: str = "int"
    symmetric: bool = False
    dynamic: bool = False
    observer: str = "mse"

    def __post_init__(self) -> None:
        for name, allowed in ALLOWED.items():
            if (value := getattr(self, name)) not in allowed:
                choices = ", ".join(map(json.dumps, allowed))
                raise ValueError(f"{name} is {json.dumps(value)}; it may be {choices}")
        if self.strategy == "tensor" and self.symmetric:
            raise ValueError("activations are quantized asymmetrically")


class LayerRecipe(Struct, frozen=True, forbid_unknown_fields=True):
    """A layer's weight and its input; None is left in floating point."""

    weight: Scheme | None
    input: Scheme | None

    def __post_init__(self) -> None:
        for name, strategy in (("weight", "channel"), ("input", "tensor")):
            scheme = getattr(self, name)
            if scheme is not None and scheme.strategy != strategy:
                raise ValueError(f"strategy of the {name} is '{scheme.strategy}', not '{strategy}'")


class ModelIdentity(Struct, frozen=True, forbid_unknown_fields=True):
    """Which network the recipe is for; the hash is of its weights before folding."""

    name: str
    weights_sha256: str


class Proxy(Struct, frozen=True, forbid_unknown_fields=True):
    """What the bits were chosen by: its text, and its canonical key."""

    text: str
    key: str


class Uniform(Struct, frozen=True, forbid_unknown_fields=True):
    """One choice for all groups that may choose, within the same budget: 'W3', or 'W4A8'.

    achieved  quantity -> what it costs, in the quantity's smallest unit
    """

    choice: str
    score: float | None
    achieved: Mapping[str, float]

    def __post_init__(self) -> None:
        match = re.fullmatch(r"W([2-8])(?:A([2-8]))?", self.choice, re.ASCII)
        if match is None:
            raise ValueError(f"the uniform choice is '{self.choice}'; it is like W3 or W4A8")

    @property
    def widths(self) -> tuple[int, int | None]:
        """Bits of weights, and of inputs where these are chosen."""
        weight, _, inputs = self.choice.removeprefix("W").partition("A")
        return int(weight), int(inputs) if inputs else None


class Solver(Struct, frozen=True, forbid_unknown_fields=True):
    """How the bits were found: `gap` is how much better another choice could score, if known.

    score    of the bits, by the proxy
    uniform  the widest single choice within the budget; None if there is none
    """

    method: str
    status: str
    gap: float | None = None
    score: float | UnsetType | None = UNSET
    uniform: Uniform | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"status '{self.status}' is unknown: {', '.join(STATUSES)}")
        if self.gap is not None and not self.gap >= 0:
            raise ValueError(f"the gap is {self.gap}, and is 0 at least")


class Procedure(Struct, frozen=True, forbid_unknown_fields=True):
    """How a network is quantized with a recipe's bits.

    rounding         'nearest', 'adaround' (learned layer by layer) or 'brecq' (unit by unit)
    images           how many of the data's first images calibrate
    iterations       of learned rounding, per unit
    bias_correction  move biases so that every channel's mean output is the float one
    fisher           weigh a unit's output errors by the gradient of the network's own answer
    step_iterations  of learned activation scales: 0 but in files of older versions
    """

    rounding: str = "nearest"
    images: int = 1024
    iterations: int = 20_000
    bias_correction: bool = False
    fisher: bool = False
    step_iterations: int = 0

    @property
    def learned(self) -> bool:
        """Whether rounding is learned."""
        return self.rounding != "nearest"

    def recorded(self) -> Procedure:
        """As a recipe records it: what has no part in nearest rounding is off."""
        procedure = replace(self, step_iterations=0)
        return procedure if self.learned else replace(procedure, iterations=0, fisher=False)


class Training(Struct, frozen=True, forbid_unknown_fields=True):
    """How a quantized network was trained, by SGD with a cosine schedule.

    best         the epoch that was kept: the best on the validation images; 0 is before the first
    images       trained on; `validation` are others, of the same data
    rate         of learning, at the start
    decay        of weights; steps, biases and norms have none
    distill      share of the float network's answers in the loss, compared at the temperature
    norms        'freeze': batch norms stayed folded; 'train': trained, and folded at last
    """

    epochs: int
    best: int
    images: int
    validation: int
    rate: float
    batch: int
    momentum: float
    decay: float
    seed: int
    distill: float
    temperature: float
    norms: str


class Origin(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the network and its images came from, as options say it; '' if not given.

    The network's name is in the recipe's `model`.
    """

    weights: str = ""
    data: str = ""
    input: str = ""
    seed: int = 0
    forward: str | UnsetType = UNSET


class Recipe(Saved, frozen=True, forbid_unknown_fields=True):
    """Which bits every layer of a network gets.

    budget     quantity -> limit as written ('size' -> '4.5MiB')
    achieved   quantity -> what the choice costs, in the quantity's smallest unit
    fixed      groups whose bits were given, which average bits leave out
    held       group -> why nothing could be measured, so that it got the most bits of the menu
    procedure  how the network was quantized; None until it is
    unreached  layers that no calibration image reached when it was quantized
    training   how often and how it was trained after that, the first time first
    origin     what `emqlang evaluate` finds the network by; None where it was given in Python
    versions   package -> version
    """

    model: ModelIdentity
    layers: Mapping[str, LayerRecipe]
    proxy: Proxy | None = None
    budget: Mapping[str, str] = field(default_factory=dict)
    accounting: str = "full"
    achieved: Mapping[str, float] = field(default_factory=dict)
    solver: Solver | None = None
    fixed: tuple[str, ...] | UnsetType = UNSET
    held: Mapping[str, str] | UnsetType = UNSET
    procedure: Procedure | None = None
    unreached: tuple[str, ...] | UnsetType = UNSET
    training: tuple[Training, ...] | UnsetType = UNSET
    origin: Origin | None = None
    placement: str = PLACEMENTS[0]
    seed: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    schema: str = SCHEMA
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        words = ("placement", PLACEMENTS), ("accounting", ACCOUNTINGS)
        for name, known in words:
            if (word := getattr(self, name)) not in known:
                raise ValueError(f"{name} '{word}' is unknown: {', '.join(known)}")
        if negative := [name for name, value in self.achieved.items() if not value >= 0]:
            raise ValueError(f"the {negative[0]} that was achieved is less than 0")

    def __repr__(self) -> str:
        counts = Counter(sorted(self.bits.values()))
        bits = ", ".join(f"{count} of {width} bits" for width, count in counts.items())
        return f"Recipe({self.model.name}: {len(self.bits)} layers, {bits})"

    @property
    def bits(self) -> dict[str, int]:
        """Layer -> weight bits, of the layers that are quantized."""
        weights = {name: entry.weight for name, entry in self.layers.items()}
        return {name: scheme.num_bits for name, scheme in weights.items() if scheme is not None}


def weight_scheme(bits: int, *, observer: str = "mse", symmetric: bool = False) -> Scheme:
    """Raises E310 for bits that no scheme may have."""
    return _scheme(bits, "channel", observer=observer, symmetric=symmetric)


def input_scheme(bits: int, *, observer: str = "mse") -> Scheme:
    """Raises E310 for bits that no scheme may have."""
    return _scheme(bits, "tensor", observer=observer)


def _scheme(bits: int, strategy: str, **settings: Any) -> Scheme:
    try:
        return Scheme(bits, strategy, **settings)
    except ValueError as reason:
        raise error("E310", f"the scheme's {reason}") from reason


def uniform(
    model: ModelIdentity, layers: Iterable[str], weight_bits: int, act_bits: int | None
) -> Recipe:
    """The same bits for every layer; `act_bits` None leaves the activations in floating point."""
    inputs = None if act_bits is None else input_scheme(act_bits)
    return Recipe(model, {name: LayerRecipe(weight_scheme(weight_bits), inputs) for name in layers})


def load_recipe(path: str | Path) -> Recipe:
    """The recipe in a file. E301 if it cannot be read, E310 if it is not a recipe."""
    path = as_path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as reason:  # the latter: no UTF-8, or no path
        raise error("E301", f"cannot read the recipe: {reason}", path=str(path)) from reason
    return parse_recipe(text, str(path))


def parse_recipe(text: str, path: str = "") -> Recipe:
    """The recipe that `as_json` wrote. E310 names the field that is wrong."""
    record = read_json(text, "E310", "the recipe", path)
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        help = f'a recipe is a JSON object with "schema": "{SCHEMA}"'
        raise error("E310", "this is not a recipe", help, path=path)
    version = record.get("schema_version")
    if version is True or version != SCHEMA_VERSION:
        message = (
            f"the recipe's schema_version is {version}, and this program reads {SCHEMA_VERSION}"
        )
        raise error("E310", message, path=path)
    layers = record.get("layers")
    for name, layer in layers.items() if isinstance(layers, dict) else ():
        typed(layer, LayerRecipe, "E310", f"layer '{name}'", path)  # an error names the layer
    return typed(record, Recipe, "E310", "the recipe", path)


def check_fits(
    recipe: Recipe,
    model: ModelIdentity,
    layers: Sequence[str],
    why_none: Callable[[str], str] = lambda name: "",
) -> None:
    """Raises E311 if the recipe is for another network, or its layers are not exactly these.

    why_none  why a name is no layer's, where something is known of it
    """
    if recipe.model.weights_sha256 != model.weights_sha256:
        recipes, this = recipe.model.weights_sha256[:12], model.weights_sha256[:12]
        raise error(
            "E311",
            f"the recipe is for {recipe.model.name} with weights {recipes}, "
            f"and this is {model.name} with weights {this}",
            "give the network and weights it was made for, or make a recipe for this one",
        )
    unreached = () if recipe.unreached is UNSET else recipe.unreached
    for name in (*recipe.layers, *unreached):
        if name not in layers:
            message = f"the recipe has a layer '{name}', which the network lacks"
            if why := why_none(name):
                message = f"the recipe has a layer '{name}': {why}"
                raise error("E311", message, "give the data that the recipe was made with")
            raise error("E311", message, *nearest(name, layers))
    if missing := [name for name in layers if name not in recipe.layers]:
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        message = f"the recipe lacks layer '{missing[0]}'{others}"
        raise error("E311", message, "a layer that stays in float is written as null")
