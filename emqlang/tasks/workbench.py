"""A network that stays loaded, with its images and the statistics collected so far."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET

from emqlang.compiler.cache import Cache
from emqlang.grammar.diagnostics import Diagnostic, EmqError, error
from emqlang.grammar.domain import Domain
from emqlang.grammar.inputs import INPUTS
from emqlang.grammar.program import Program
from emqlang.quant.bits.menu import Choice, parse_bits, parse_menu
from emqlang.quant.data.images import ImageFormat
from emqlang.quant.networks.facts import NetworkFacts
from emqlang.quant.progress import Progress, silent
from emqlang.quant.ptq.recipe import Origin, Procedure
from emqlang.quant.statistics.cache import default_root
from emqlang.quant.statistics.kinds import ROUNDED
from emqlang.quant.statistics.record import Kept
from emqlang.quant.statistics.table import Statistics
from emqlang.tasks.collected import Collected

# What needs torch, which takes a second, is imported where a network is: not every task has one.
if TYPE_CHECKING:
    from emqlang.quant.data.datasets import Dataset
    from emqlang.quant.networks.network import Network
    from emqlang.quant.statistics.options import Loss
    from emqlang.quant.tables.table import Table

ACTIVATION = 2  # the bit of `Expr.axes` that says a value depends on activation bits
DEFAULT_BITS = "2,3,4"
IMAGES: Final = 64  # that statistics are taken on, where nothing else is said
ITERATIONS: Final = 1_000  # of learned rounding in statistics, for each layer at each width


@dataclass(frozen=True, slots=True)
class WorkbenchOptions:
    """A network, its choices, and how statistics are taken, as the command line's options.

    test   images to test on, which tell the shape of an image where `data` does not
    input  the shape of an image, as 1x28x28, where nothing else tells it
    forward  how the network is given a batch, as `file.py:function`
    stat_images  as many as a proxy's entry says, or IMAGES, where not given
    loss     'label', which is the default, 'self', a function, or one as `file.py:function`
    label_draws  as a proxy's entry says, or none, where neither they nor a loss are given
    stat_rounding, stat_iterations, calib_images
             how weights are rounded in statistics of quantization errors, and on how many images
             of the data that is learned
    """

    model: str = "resnet18-fmnist"
    weights: str | None = None
    seed: int = 0
    bits: str | None = None
    menu: str | None = None
    data: str | None = None
    test: str | None = None
    input: str | None = None
    forward: str | None = None
    stat_images: int | None = None
    loss: str | Loss | None = None
    label_draws: int | None = None
    hessian_samples: int = 32
    stat_rounding: str = "nearest"
    stat_iterations: int = ITERATIONS
    calib_images: int = 1024
    device: str = "auto"
    tied: str = "auto"
    cache: bool = True

    @property
    def images(self) -> int:
        """That statistics are taken on."""
        return self.stat_images or IMAGES

    def fitted(self, domain: Domain) -> WorkbenchOptions:
        """With the images and label draws that a proxy was made for, where these say nothing."""
        images, draws = self.stat_images or domain.images or None, self.label_draws
        if draws is None and self.loss is None:
            draws = domain.draws or None
        return replace(self, stat_images=images, label_draws=draws)

    def choices(self) -> tuple[Choice, ...]:
        """The menu. Raises E401, and E403 if bits and a menu are given."""
        if self.bits is not None and self.menu is not None:
            raise error("E403", "--bits and --menu exclude each other")
        if self.menu is not None:
            return parse_menu(self.menu)
        return parse_bits(DEFAULT_BITS if self.bits is None else self.bits)

    def network(self) -> Network:
        """The network that is named. Raises E301, E305 to E309, E403 for a shape."""
        from emqlang.quant.networks.network import load
        from emqlang.quant.networks.signature import load_forward

        data, input = self.data or self.test or "", self.input or ""
        return load(
            self.model,
            self.weights,
            seed=self.seed,
            data=data,
            input=input,
            forward=load_forward(self.forward),
        )

    @property
    def origin(self) -> Origin:
        """What a recipe says of where the network came from."""
        given = self.weights or "", self.data or "", self.input or ""
        return Origin(*given, self.seed, self.forward or UNSET)

    @property
    def procedure(self) -> Procedure:
        """How weights are rounded in statistics."""
        return Procedure(self.stat_rounding, self.calib_images, self.stat_iterations)

    def loss_function(self) -> str | Loss:
        """A loss of the user's own, or the word for one of ours. Raises E301, E403."""
        if isinstance(self.loss, str) and ":" in self.loss:
            from emqlang.quant.user_code import load_function

            return load_function(self.loss, "loss(outputs, batch), a scalar")
        return self.loss or "label"


class Workbench:
    """A network that stays loaded, with the statistics collected so far.

    progress  called with the statistic, the steps done and the steps in all
    """

    def __init__(
        self,
        options: WorkbenchOptions,
        progress: Progress | None = None,
        *,
        network: Network | None = None,
        data: Dataset | None = None,
        choices: Sequence[Choice] = (),
        parent: Workbench | None = None,
    ) -> None:
        """`network`, `data` and `choices`, where given, stand for what the options name.

        The network is that of `parent`, where there is one, once anything needs it.
        """
        self.options = options
        self.choices = tuple(choices) or options.choices()
        self.progress = progress or silent
        self.reduced = Cache()  # what the compiler keeps of these statistics
        self._network, self._data, self._parent = network, data, parent
        self._statistics: Statistics | None = None
        named = network is None and data is None
        self._before = Collected(options if named else None, self.choices)
        self._reported: set[Diagnostic] = set()
        self._fitted: dict[WorkbenchOptions, Workbench] = {}

    def __repr__(self) -> str:
        menu = " ".join(map(str, self.choices))
        known = ", ".join(self.collected) or "none yet"
        return f"Workbench({self.facts.name}, choices {menu}, statistics: {known})"

    @property
    def collected(self) -> tuple[str, ...]:
        """The names of the statistics collected so far."""
        held = [*self._before.held, *([self._statistics] if self._statistics else ())]
        return tuple(dict.fromkeys(name for each in held for name in each.arrays))

    @classmethod
    def of_table(
        cls, table: Table, options: WorkbenchOptions, progress: Progress | None = None
    ) -> Workbench:
        """A table's network, with the table's menu. Raises E315 if its weights have changed."""
        spec = table.spec
        options = replace(
            options,
            model=spec.model,
            weights=spec.weights,
            seed=spec.seed,
            data=spec.data,
            test=spec.test,
            input=spec.input,
            forward=spec.forward,
        )
        workbench = cls(options, progress, choices=table.menu)
        table.check(workbench.facts)
        return workbench

    @cached_property
    def network(self) -> Network:
        if self._parent is not None:
            return self._parent.network
        return self._network or self.options.network()

    @property
    def facts(self) -> NetworkFacts:
        """What is said of the network, which is not loaded for it if that is known."""
        loaded = "network" in vars(self)
        known = None if loaded else self._before.record(False) or self._before.record(True)
        return known.network if known else self.network.facts

    @cached_property
    def data(self) -> Dataset | None:
        """The images that statistics are taken on: those named, or the network's own, or None."""
        if self._data is not None:
            return self._data
        spec, options = self.network.spec, self.options
        text = options.data or (spec.data if spec else "")
        if not text:
            return None
        from emqlang.quant.data.datasets import load_data
        from emqlang.quant.data.loader import Wanted

        images = spec.images if spec else ImageFormat.of(self.network.input_shape)
        count, classes = options.images, self.network.classes
        return load_data(
            text,
            images,
            classes,
            count=count,
            seed=options.seed,
            net=self.network.module,
            wanted=Wanted(self.network.input_shape, self.network.example, self.network.signature),
        )

    @cached_property
    def learned_on(self) -> Dataset | None:
        """The images that rounding is learned on; None where there are none."""
        from emqlang.quant.ptq.splits import calibration_images

        network, options = self.network, self.options
        if self._data is not None:
            return self._data
        if not (options.data or (network.spec and network.spec.data)):
            return None
        return calibration_images(network, options.data, options.seed, options.calib_images)

    def kept(self, names: Iterable[str]) -> Kept | None:
        """The named statistics as they were collected before, without loading the network.

        None if that is not known of all of them, or if some are collected already.
        """
        names = tuple(names)
        return self._before.kept(names, needs_data(names)) if self._statistics is None else None

    def statistics(self, names: Iterable[str]) -> Statistics:
        """At least the named statistics; only those that are new are collected. Raises EmqError."""
        held = self._statistics
        missing = [name for name in names if held is None or name not in held.arrays]
        if held is None:
            held = self._collect(missing)
        elif missing:
            new = self._collect(missing)
            base = new if needs_data(missing) else held  # activations lie as the images say
            held = replace(
                base,
                arrays={**held.arrays, **new.arrays},
                errors={**held.errors, **new.errors},
                unmeasured={**held.unmeasured, **new.unmeasured},
                warnings=new.warnings,
            )
        self._statistics = held
        return held

    def calibration(self, images: int) -> list[Any]:
        """As many images to calibrate on, in batches; of batches that were given, up to as many."""
        from emqlang.quant.networks.batches import first_rows, held, take
        from emqlang.quant.ptq.splits import calibration_images

        if self._data is not None:
            return held(first_rows(self._data, images))
        data = calibration_images(self.network, self.options.data, self.options.seed, images)
        return take(data, images)

    def source(self, names: Iterable[str]) -> str:
        """What these statistics are taken on, in words; empty if on nothing."""
        names, options, parts = set(names), self.options, list[str]()
        if needs_data(names):
            known = self._before.record(True)
            parts.append(known.source if known else self.data.source if self.data else "")
        if options.procedure.learned and names & ROUNDED and self.learned_on:
            how = f"{options.stat_rounding} rounding, {options.stat_iterations:,} iterations"
            parts.append(f"{how} on {self.learned_on.source}")
        return "; ".join(filter(None, parts))

    def data_warnings(self, names: Iterable[str]) -> tuple[Diagnostic, ...]:
        """W607 where statistics are taken on noise. None of a record is."""
        if not needs_data(names) or self._before.record(True) or self.data is None:
            return ()
        return self.data.warnings

    def with_choices(self, choices: Sequence[Choice]) -> Workbench:
        """The same network and data with another menu."""
        return self if tuple(choices) == self.choices else self._with(self.options, choices)

    def fitted(self, domain: Domain) -> Workbench:
        """The same network with statistics as a proxy's entry says, where the options do not.

        Where the data has fewer images than that, there are as many as without an entry.
        """
        options = self.options.fitted(domain)
        if options == self.options:
            return self
        if options not in self._fitted:
            self._fitted[options] = self._fitting(options)
        return self._fitted[options]

    def _fitting(self, options: WorkbenchOptions) -> Workbench:
        other = self._with(options, self.choices)
        if other._before.record(True):
            return other  # there were as many
        try:
            other.data  # noqa: B018  loads them
        except EmqError:  # too few, or what is said of fewer as well
            return self._with(replace(options, stat_images=self.options.stat_images), self.choices)
        return other

    def _with(self, options: WorkbenchOptions, choices: Sequence[Choice]) -> Workbench:
        network, data = self._network, self._data
        known: Any = {"network": network, "data": data, "choices": choices, "parent": self}
        other = Workbench(options, self.progress, **known)
        other._reported = self._reported
        return other

    def check_menu(self, programs: Iterable[Program]) -> None:
        """A menu of pairs says nothing to a proxy that reads no activation input. Raises E204."""
        if not any(choice.act_bits is not None for choice in self.choices):
            return
        for program in programs:
            if not program.elaborated.axes & ACTIVATION:
                raise error(
                    "E204",
                    f"'{program.name or program.text}' mentions no activation input, "
                    "and the menu chooses activation bits",
                    "multiply by act_bits, or give --bits instead of --menu",
                )

    def report_to(self, progress: Progress) -> None:
        """From now on, progress goes there."""
        self.progress = progress
        for other in self._fitted.values():
            other.report_to(progress)

    def new(self, notices: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
        """Those warnings that have not been given before."""
        fresh = tuple(notice for notice in notices if notice not in self._reported)
        self._reported.update(fresh)
        return fresh

    def _collect(self, names: Sequence[str]) -> Statistics:
        from emqlang.quant.statistics.collect import collect_statistics
        from emqlang.quant.statistics.options import StatisticsOptions

        options = self.options
        statistics = StatisticsOptions(
            images=options.images,
            loss=options.loss_function(),
            label_draws=options.label_draws,
            hessian_samples=options.hessian_samples,
            seed=options.seed,
            procedure=options.procedure,
            device=device_named(options.device),
            cache=default_root() if options.cache else None,
            record=self._before.key(needs_data(names)),
        )
        data = self.data if needs_data(names) else None
        learned = options.procedure.learned
        return collect_statistics(
            self.network,
            names,
            self.choices,
            data,
            statistics,
            self.progress,
            self.learned_on if learned else None,
        )


def needs_data(names: Iterable[str]) -> bool:
    """Whether one of the statistics is taken on images."""
    return any(INPUTS[name].needs_data for name in names)


def device_named(name: str) -> str:
    """`auto` is the GPU where there is one. Raises E403 for a GPU that is not there."""
    from torch.cuda import is_available

    if name == "cuda" and not is_available():
        raise error(
            "E403", "there is no CUDA device here", "--device auto uses one if it is available"
        )
    return ("cuda" if is_available() else "cpu") if name == "auto" else name
