"""How a quantized network is trained: THE settings, and the paper's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, Final

from emqlang.grammar.diagnostics import error, nearest
from emqlang.quant.ptq.recipe import Recipe

NORMS: Final = ("freeze", "train")


def _number(allowed: Callable[[float], bool]) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, Real) and not isinstance(value, bool) and allowed(float(value))
    )


_COUNT: Final = (
    lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 1,
    "a whole number, 1 or more",
)
_POSITIVE: Final = (_number(lambda value: 0 < value < math.inf), "a number above 0")
_ALLOWED: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "epochs": _COUNT,
    "batch": _COUNT,
    "rate": _POSITIVE,
    "temperature": _POSITIVE,
    "distill": (_number(lambda value: 0 <= value <= 1), "a number from 0 to 1"),
    "norms": (lambda value: value in NORMS, f"one of {', '.join(NORMS)}"),
}


@dataclass(frozen=True)
class Settings:
    """SGD with momentum; the rate falls as a cosine to 0.

    rate         of weights and steps alike
    decay        of weights; steps, biases, norms and other vectors have none
    seed         of the order of the images, and of those that validate
    distill      share of the float network's answers in the loss; the rest is the labels'
    temperature  at which answers are compared
    norms        'freeze': batch norms stay folded; 'train': they are put back, and folded at last
    """

    epochs: int = 2
    rate: float = 0.003
    batch: int = 128
    momentum: float = 0.9
    decay: float = 1e-4
    seed: int = 0
    distill: float = 0.0
    temperature: float = 4.0
    norms: str = NORMS[0]

    @classmethod
    def of(cls, preset: str | None, **given: Any) -> Settings:
        """A preset's settings with those that are given and not None in their place.

        Raises E403 for a preset that there is not, and for values that cannot be.
        """
        if preset is not None and preset not in PRESETS:
            raise error("E403", f"there is no preset '{preset}'", *nearest(preset, PRESETS))
        base = cls() if preset is None else PRESETS[preset]
        return replace(base, **{name: value for name, value in given.items() if value is not None})

    def __post_init__(self) -> None:
        """Raises E403 for values that cannot be."""
        for name, (allowed, wanted) in _ALLOWED.items():
            if not allowed(value := getattr(self, name)):
                raise error("E403", f"{name} is {value!r}", f"give {wanted}")

    def rate_at(self, progress: float) -> float:
        """The learning rate at a share of all steps."""
        return cosine(self.rate, progress)


# EMQ, section 4.1, for 8 bits in the first and last layer and 4 to 8 in the others. It says nothing
# of a momentum: 0.9 is what its peers train with.
PRESETS: Final = {"paper": Settings(epochs=30, rate=4e-4, batch=512, decay=1e-4)}
PAPER_BITS: Final = range(4, 9)
PAPER_ENDS: Final = 8


def check_preset(preset: str, recipe: Recipe) -> None:
    """Raises E403 for bits that the preset's authors do not train."""
    weights = {name: entry.weight for name, entry in recipe.layers.items()}
    names = list(weights)
    for name, scheme in weights.items():
        wanted = (PAPER_ENDS,) if name in (names[0], names[-1]) else PAPER_BITS
        bits = None if scheme is None else scheme.num_bits
        if bits not in wanted:
            has = "is in float" if bits is None else f"has {bits} bits"
            raise error(
                "E403",
                f"'{name}' {has}, and preset '{preset}' is of networks with {PAPER_ENDS} bits in "
                f"the first and last layer, and {PAPER_BITS[0]} to {PAPER_BITS[-1]} in the others",
                "`emqlang assign --bits 4,5,6,7,8 --fix FIRST=8,LAST=8` chooses such bits",
                "or leave --preset out, and give its settings: --lr, --batch-size, --epochs",
            )


def cosine(rate: float, progress: float, warmup: float = 0.0) -> float:
    """A rate at a share of all steps: it rises linearly over the warm-up, then falls to 0."""
    if progress < warmup:
        return rate * progress / warmup
    angle = math.pi * (progress - warmup) / (1 - warmup)
    return rate * (1 + math.cos(angle)) / 2
