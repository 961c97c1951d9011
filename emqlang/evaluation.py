"""Programs, a network and data to scores: what `eval`, the REPL and `emqlang.score` share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter
from typing import Any

from emqlang.compiler.cache import Cache
from emqlang.grammar.diagnostics import EXIT_NOT_FINITE, EXIT_OK, Diagnostic, error
from emqlang.grammar.inputs import INPUTS
from emqlang.grammar.program import Program
from emqlang.quant.data import SHIPPED, Batches, load_data
from emqlang.quant.images import ImageFormat
from emqlang.quant.layers import Group, Layer
from emqlang.quant.menu import Choice, parse_bits, parse_menu
from emqlang.quant.network import Network, load

DEFAULT_BITS = "2,3,4"


@dataclass(frozen=True, slots=True)
class Settings:
    """What to score on, in the words of the command line's options."""

    model: str = "resnet18-fmnist"
    weights: str | None = None
    seed: int = 0
    bits: str | None = None
    menu: str | None = None
    data: str | None = None
    stat_images: int = 64
    loss: str = "label"
    hessian_samples: int | None = None
    device: str = "auto"
    tied: str = "auto"
    cache: bool = True

    def choices(self) -> tuple[Choice, ...]:
        """The menu. Raises E401, and E403 if bits and a menu are given."""
        if self.bits is not None and self.menu is not None:
            raise error("E403", "--bits and --menu exclude each other")
        return parse_bits(self.bits or DEFAULT_BITS) if self.menu is None else parse_menu(self.menu)


@dataclass(frozen=True)
class Scored:
    """One proxy on one network.

    values        Q of each layer; None where the choice changes more than the bit weight
    scores        S, a row a group and a column a choice
    tied          how the layers of a group made one score: 'sum', 'main' or 'mean'
    config_score  of the configuration asked for; None if there is none or it is not finite
    problems      E501 for every layer whose value is not finite, W602 for groups whose scores fall as bits rise
    """

    program: Program
    elaborated: str
    canonical: str
    inputs: tuple[str, ...]
    values: tuple[float, ...] | None
    scores: tuple[tuple[float, ...], ...]
    tied: str
    config_score: float | None
    problems: tuple[Diagnostic, ...]


@dataclass(frozen=True)
class Evaluation:
    """Several proxies on one network. `data` says in words which images were read; empty if none were."""

    network: Network
    data: str
    choices: tuple[str, ...]
    config: tuple[str, ...] | None
    scored: tuple[Scored, ...]
    warnings: tuple[Diagnostic, ...]
    statistics_seconds: float
    evaluation_seconds: float

    @property
    def layers(self) -> tuple[Layer, ...]:
        return self.network.collection.layers

    @property
    def groups(self) -> tuple[Group, ...]:
        return self.network.collection.groups

    @cached_property
    def group_of(self) -> tuple[str, ...]:
        """The group's name for each layer."""
        names = {index: group.name for group in self.groups for index in group.layers}
        return tuple(names[index] for index in range(len(self.layers)))

    @property
    def has_ties(self) -> bool:
        return any(len(group.layers) > 1 for group in self.groups)

    @property
    def exit_status(self) -> int:
        finite = all(not problem.is_error for scored in self.scored for problem in scored.problems)
        return EXIT_OK if finite else EXIT_NOT_FINITE
