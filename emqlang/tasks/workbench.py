"""Programs, a network and data to scores: what `eval`, the REPL and `emqlang.score` share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite
from time import perf_counter
from typing import TYPE_CHECKING

from emqlang.compiler.cache import Cache
from emqlang.grammar.diagnostics import EXIT_NOT_FINITE, EXIT_OK, Diagnostic, error
from emqlang.grammar.expr import inputs
from emqlang.grammar.inputs import INPUTS
from emqlang.grammar.program import Program
from emqlang.quant.bits.fixed import read_configuration
from emqlang.quant.bits.menu import Choice, parse_bits, parse_menu
from emqlang.quant.data.datasets import Batches, load_data
from emqlang.quant.data.images import ImageFormat
from emqlang.quant.networks.layers import Group, Layer
from emqlang.quant.networks.network import Network, load
from emqlang.quant.statistics import collect_statistics
from emqlang.quant.statistics.cache import default_root
from emqlang.quant.statistics.subject import Loss, Progress
from emqlang.quant.statistics.table import Statistics
from emqlang.scores.table import ScoreTable, tabulate

if TYPE_CHECKING:
    from emqlang.quant.tables.table import Table

ACTIVATION = 2  # the bit of `Expr.axes` that says a value depends on activation bits
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
    loss: str | Loss = "label"
    hessian_samples: int | None = None
    device: str = "auto"
    tied: str = "auto"
    cache: bool = True

    def choices(self) -> tuple[Choice, ...]:
        """The menu. Raises E401, and E403 if bits and a menu are given."""
        if self.bits is not None and self.menu is not None:
            raise error("E403", "--bits and --menu exclude each other")
        return parse_bits(self.bits or DEFAULT_BITS) if self.menu is None else parse_menu(self.menu)


@dataclass(frozen=True, eq=False)
class Scored:
    """One proxy on one network: its table, and the score of the configuration asked for, None if that is not finite."""

    program: Program
    table: ScoreTable
    config_score: float | None

    @property
    def inputs(self) -> tuple[str, ...]:
        return inputs(self.program.elaborated)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Several proxies on one network.

    data                which images were read, in words; empty if none were
    config              the configuration asked for, a choice a group
    notices             warnings about the network, its data and the cache, each given once
    statistics_seconds  loading the network and its images, and collecting
    """

    network: Network
    data: str
    choices: tuple[Choice, ...]
    config: tuple[Choice, ...] | None
    scored: tuple[Scored, ...]
    notices: tuple[Diagnostic, ...]
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
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """Everything that is not as it should be: notices, scores that fall as bits rise, scores that are not finite."""
        tables = [scored.table for scored in self.scored]
        falling = [warning for table in tables for warning in table.warnings]
        return (
            *self.notices,
            *falling,
            *(problem for table in tables for problem in table.problems),
        )

    @property
    def exit_status(self) -> int:
        return EXIT_NOT_FINITE if any(scored.table.problems for scored in self.scored) else EXIT_OK


class Workbench:
    """A network that stays loaded, with the statistics collected so far. `progress` hears of the passes over the images."""

    def __init__(
        self,
        settings: Settings,
        progress: Progress | None = None,
        *,
        network: Network | None = None,
        data: Batches | None = None,
        choices: Sequence[Choice] = (),
    ) -> None:
        """`network`, `data` and `choices`, where given, stand for what the settings name."""
        self.settings = settings
        self.choices = tuple(choices) or settings.choices()
        self._network, self._data = network, data
        self.progress = progress or (lambda name, done, total: None)
        self._held: Statistics | None = None
        self._reduced = Cache()
        self._said: set[Diagnostic] = set()

    @classmethod
    def of_table(
        cls, table: Table, settings: Settings, progress: Progress | None = None
    ) -> Workbench:
        """The network that a table is of, with the table's menu. Raises E315 if its weights have changed."""
        spec = table.spec
        settings = replace(
            settings, model=spec.model, weights=spec.weights, seed=spec.seed, data=spec.data
        )
        bench = cls(settings, progress, choices=table.menu)
        table.check(bench.network)
        return bench

    @cached_property
    def network(self) -> Network:
        settings = self.settings
        return self._network or load(
            settings.model, settings.weights, seed=settings.seed, data=settings.data or ""
        )

    @cached_property
    def data(self) -> Batches | None:
        """The images that statistics are taken on: those asked for, or the network's own; None if it has none."""
        if self._data is not None:
            return self._data
        spec, settings = self.network.spec, self.settings
        text = settings.data or (spec.data if spec else "")
        if not text:
            return None
        images = spec.images if spec else ImageFormat.of(self.network.input_shape)
        count, classes = settings.stat_images, self.network.classes
        return load_data(
            text, images, classes, count=count, seed=settings.seed, net=self.network.module
        )

    def statistics(self, names: Iterable[str]) -> Statistics:
        """At least the named statistics; only those that are new are collected. Raises EmqError."""
        held = self._held.arrays if self._held else {}
        missing = [name for name in names if name not in held]
        if missing or self._held is None:
            found = self._collect(missing)
            if self._held is not None:
                base = (
                    found if _needs_data(missing) else self._held
                )  # activations lie as the images say
                arrays, errors = {**held, **found.arrays}, {**self._held.errors, **found.errors}
                found = replace(base, arrays=arrays, errors=errors, warnings=found.warnings)
            self._held = found
        return self._held

    def with_choices(self, choices: Sequence[Choice]) -> Workbench:
        """The same network and data with another menu."""
        if tuple(choices) == self.choices:
            return self
        return Workbench(
            self.settings, self.progress, network=self.network, data=self.data, choices=choices
        )

    def evaluate(
        self, programs: Sequence[Program], config: str | None = None, tied: str | None = None
    ) -> Evaluation:
        """Score tables of programs, evaluated together; `config` is one choice a group, as 4,4,2,... Raises EmqError."""
        self.check_menu(programs)
        started = perf_counter()
        chosen = None if config is None else self._configuration(config)
        canonical = [program.canonical for program in programs]
        names = inputs(*canonical)
        statistics = self.statistics(names)
        collected = perf_counter()
        tables = tabulate(
            canonical,
            statistics,
            self.network.collection.groups,
            tied or self.settings.tied,
            self._reduced,
        )
        finished = perf_counter()
        shown = self.data if _needs_data(names) else None
        return Evaluation(
            network=self.network,
            data=shown.source if shown else "",
            choices=self.choices,
            config=chosen,
            scored=tuple(
                self._scored(*pair, chosen) for pair in zip(programs, tables, strict=True)
            ),
            notices=self._news(
                (*self.network.warnings, *(shown.warnings if shown else ()), *statistics.warnings)
            ),
            statistics_seconds=collected - started,
            evaluation_seconds=finished - collected,
        )

    def _collect(self, names: Sequence[str]) -> Statistics:
        settings = self.settings
        return collect_statistics(
            self.network,
            names,
            self.choices,
            self.data if _needs_data(names) else None,
            loss=settings.loss,
            hessian_samples=settings.hessian_samples,
            stat_images=settings.stat_images,
            seed=settings.seed,
            device=_device(settings.device),
            cache=default_root() if settings.cache else None,
            progress=self.progress,
        )

    def _scored(
        self, program: Program, table: ScoreTable, config: Sequence[Choice] | None
    ) -> Scored:
        score = (
            None
            if config is None
            else table.score([self.choices.index(choice) for choice in config])
        )
        return Scored(
            program,
            table,
            score if score is not None and isfinite(score) else None,
        )

    def _configuration(self, text: str) -> tuple[Choice, ...]:
        """One choice of the menu a group. Raises E402."""
        config = read_configuration(text, self.network.collection)
        for group, choice in zip(self.network.collection.groups, config, strict=True):
            if choice not in self.choices:
                menu = ", ".join(map(str, self.choices))
                raise error(
                    "E402",
                    f"'{group.name}' is given {choice}, which is not in the menu",
                    f"the menu is {menu}",
                )
        return config

    def check_menu(self, programs: Iterable[Program]) -> None:
        """A menu of pairs says nothing to a proxy that reads no activation input. Raises E204."""
        for program in programs:
            if (
                any(choice.act_bits is not None for choice in self.choices)
                and not program.elaborated.axes & ACTIVATION
            ):
                message = f"'{program.name or program.text}' mentions no activation input, and the menu chooses activation bits"
                raise error(
                    "E204", message, "multiply by act_bits, or give --bits instead of --menu"
                )

    def _news(self, notices: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
        """Warnings that have not been given before."""
        fresh = tuple(notice for notice in notices if notice not in self._said)
        self._said.update(fresh)
        return fresh


def _needs_data(names: Iterable[str]) -> bool:
    return any(INPUTS[name].needs_data for name in names)


def _device(name: str) -> str:
    """`auto` is the GPU where there is one. Raises E403 for a GPU that is not there."""
    from torch.cuda import is_available

    if name == "cuda" and not is_available():
        raise error(
            "E403", "there is no CUDA device here", "--device auto takes one where it can be had"
        )
    return ("cuda" if is_available() else "cpu") if name == "auto" else name
