"""What is exported, how, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from emqlang.grammar.diagnostics import error
from emqlang.quant.data.datasets import Dataset
from emqlang.quant.networks.network import Network
from emqlang.quant.ptq.quantized import Quantized
from emqlang.quant.ptq.recipe import Recipe

SHOWN = 5  # names listed in one sentence
# Help where what was written answers otherwise.
DIFFERS = (
    "docs/export.md names the versions that agree; --no-verify writes it all the same",
    "--to safetensors and --to json hold the same bits and weights for a program of your own",
)


@dataclass(frozen=True)
class Settings:
    """How to export, in the words of the command line's options.

    partial     leave out what the format cannot hold
    requantize  round to the format's own grid where it has not ours
    int2        hold 2 bits in INT2
    verify      read again and run what was written
    images      that outputs are compared on, at most
    """

    partial: bool = False
    requantize: bool = False
    int2: bool = False
    verify: bool = True
    images: int = 64


@dataclass(frozen=True)
class Subject:
    """A recipe and its network; the integers only for formats that hold them.

    make    gives the quantized network
    images  gives the images that outputs are compared on
    """

    network: Network
    recipe: Recipe
    make: Callable[[], Quantized]
    images: Callable[[], Dataset]

    @cached_property
    def quantized(self) -> Quantized:
        return self.make()


@dataclass(frozen=True)
class Export:
    """What was written.

    held      how, in a few words for each line: '8 layers of 5 to 7 bits in INT8'
    verified  how what was written was found to be right; empty if it was not looked at
    unverified  why not
    ignored   layer or tensor -> why the format does not have it
    figures   what was measured, by name
    """

    held: tuple[str, ...] = ()
    verified: tuple[str, ...] = ()
    unverified: str = ""
    ignored: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)


def check_ignored(name: str, ignored: Mapping[str, str], held: int, settings: Settings) -> None:
    """Raises E411, naming all reasons, for what a format does not hold, unless --partial leaves it
    out and something is left."""
    why = "; ".join(by_reason(ignored))
    if not held:
        message = f"no layer is left that {name} holds" + f": {why}" * bool(why)
        raise error("E411", message, "--to json and --to safetensors hold every layer")
    if ignored and not settings.partial:
        count = f"{len(ignored)} layer{'s' * (len(ignored) > 1)}"
        raise error("E411", f"{name} does not hold {count}: {why}", "--partial leaves them out")


def by_reason(ignored: Mapping[str, str]) -> list[str]:
    """A line for each reason, with the layers that it holds for."""
    return [
        f"{listed([name for name in ignored if ignored[name] == reason])}: {reason}"
        for reason in dict.fromkeys(ignored.values())
    ]


def listed(names: list[str]) -> str:
    """A few names, and how many more."""
    shown = ", ".join(f"'{name}'" for name in names[:SHOWN])
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown
