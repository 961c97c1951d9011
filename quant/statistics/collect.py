"""Statistics of a network: every row of `emqlang.grammar.inputs`, in as few passes as possible."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Final

from emqlang.grammar.diagnostics import error
from emqlang.grammar.inputs import INPUTS
from emqlang.quant.bits.menu import Choice, weight_widths
from emqlang.quant.data.datasets import Dataset
from emqlang.quant.networks.network import Network
from emqlang.quant.networks.rows import Rows
from emqlang.quant.progress import Progress, silent
from emqlang.quant.statistics import (
    features,
    fingerprint,
    hessian,
    perturbation,
    quantization_errors,
    record,
    shape,
    shifts,
    synflow,
)
from emqlang.quant.statistics.activations import (
    ChannelFisher,
    OutputGradSample,
    OutputSample,
    OutputVariance,
    sample_sizes,
)
from emqlang.quant.statistics.cache import Cache
from emqlang.quant.statistics.gradients import Fisher, FisherError, Gradient
from emqlang.quant.statistics.image_pass import Observer, show_images
from emqlang.quant.statistics.images import rows_of
from emqlang.quant.statistics.kinds import LOSSES, SHIFTS
from emqlang.quant.statistics.options import StatisticsOptions
from emqlang.quant.statistics.rounding import rounding_of
from emqlang.quant.statistics.squared_inputs import SquaredInputs
from emqlang.quant.statistics.subject import Subject
from emqlang.quant.statistics.table import Measured, Statistics, unmeasured_in, warnings_of

# What is taken in the one pass over the images.
OBSERVERS: Final[Mapping[str, type[Observer]]] = {
    "grad": Gradient,
    "fisher": Fisher,
    "fisher_qerr": FisherError,
    "x2": SquaredInputs,
    "act": OutputSample,
    "grad_act": OutputGradSample,
    "act_var": OutputVariance,
    "fisher_act": ChannelFisher,
}


def _observe(subject: Subject, names: frozenset[str]) -> dict[str, Measured]:
    observers = {name: OBSERVERS[name](subject) for name in sorted(names)}
    seen = show_images(subject, observers.values())
    return {
        name: Measured(observer.result(), unmeasured=seen.unmeasured(observer.asked(seen)))
        for name, observer in observers.items()
    }


@dataclass(frozen=True)
class Pass:
    """Statistics that come together; `measure` takes those of them that are wanted."""

    names: frozenset[str]
    measure: Callable[[Subject, frozenset[str]], dict[str, Measured]]
    cached: bool = True


PASSES: Final = (
    Pass(frozenset(shape.FACTS), shape.measure, cached=False),
    Pass(frozenset({"grad_synflow"}), synflow.measure),
    Pass(frozenset({"qerr"}), quantization_errors.measure_weights),
    Pass(frozenset(OBSERVERS), _observe),
    Pass(frozenset({"orm"}), features.measure),
    Pass(frozenset({"act_qerr"}), quantization_errors.measure_inputs),
    Pass(frozenset({"hess", "hess_trace"}), hessian.measure_diagonal),
    Pass(frozenset({"hess_eig"}), hessian.measure_top),
    Pass(frozenset(shifts.NAMES), shifts.measure),
    Pass(frozenset(perturbation.NAMES), perturbation.measure),
)


def collect_statistics(
    network: Network,
    names: Iterable[str],
    menu: Sequence[Choice],
    data: Dataset | None = None,
    options: StatisticsOptions | None = None,
    progress: Progress = silent,
    calibration: Dataset | None = None,
) -> Statistics:
    """The named statistics and no others; `data` is not read if none of them needs it.

    calibration  what rounding is learned on, where the options say that it is learned; by default
                 the same data
    Raises E303 for statistics that need data where there is none, E304 for data that does not do,
    E308, E312, E403.
    """
    options = options or StatisticsOptions()
    wanted = frozenset(names)
    needing = sorted(name for name in wanted if INPUTS[name].needs_data)
    images = _take(data, options.images, network, needing)
    network_key = fingerprint.of_network(network)
    cache, widths = _cache(network, options, network_key), weight_widths(menu)
    rounding = rounding_of(network, options, widths, calibration or data, cache, progress)
    subject = Subject(network, tuple(menu), images, options, progress, rounding)
    of_loss = LOSSES - (SHIFTS if options.label_draws else frozenset())
    if options.loss == "label" and wanted & of_loss:
        subject.check_labels()  # before anything is measured
    images_key = fingerprint.of_images(images, network)
    measured: dict[str, Measured] = {}
    for part in PASSES:
        kept = cache if part.cached or options.record else None
        measured |= _obtain(subject, part, wanted & part.names, kept, images_key)
    everything = fingerprint.of_all(subject, network_key, images_key)
    table = _table(subject, measured, everything, cache)
    if cache and options.record:
        source = data.source if needing and data else ""
        of = partial(fingerprint.of_statistic, subject, images=images_key)
        keys = {name: of(name) for name in sorted(wanted)}
        facts = network.facts, source, cache.network, table.fingerprint
        sizes = dict(table.offsets), dict(table.totals), table.rows
        record.store(cache.root, options.record, record.Record(*facts, *sizes, keys))
    return table


def _cache(network: Network, options: StatisticsOptions, network_key: str) -> Cache | None:
    own = callable(options.loss) or network.signature.own is not None
    older = network.spec is not None  # every layer of a network of ours is measured
    return None if own or options.cache is None else Cache(options.cache, network_key, older)


def _take(data: Dataset | None, count: int, network: Network, needing: Sequence[str]) -> Rows:
    """The rows that are shown; none if no statistic needs them."""
    if not needing:
        return Rows((), ())
    if data is None:
        help = ("give images with --data, or --data noise:64 to do without",)
        raise error(
            "E303", f"{', '.join(needing)} must be measured on images, and there are none", *help
        )
    rows = rows_of(data, count, network)
    if not len(rows):
        raise error("E304", f"{data.name} has no images")
    return rows


def _obtain(
    subject: Subject, part: Pass, names: frozenset[str], cache: Cache | None, images_key: str
) -> dict[str, Measured]:
    """The wanted statistics of one pass, from the cache as far as it has them."""
    keys = {name: fingerprint.of_statistic(subject, name, images_key) for name in sorted(names)}
    measured = {}
    for name, key in keys.items():
        if cache and (kept := cache.load(name, key)) is not None:
            measured[name] = kept.to(subject.device)
    missing = names - measured.keys()
    if missing:
        fresh = part.measure(subject, missing)
        if cache:
            for name, statistic in fresh.items():
                cache.store(name, keys[name], statistic)
        measured |= fresh
    return measured


def _table(
    subject: Subject, measured: Mapping[str, Measured], key: str, cache: Cache | None
) -> Statistics:
    elements = [len(subject.images) * size for size in subject.act_sizes]
    weights, names = [layer.numel for layer in subject.layers], [one.name for one in subject.layers]
    unmeasured = unmeasured_in(names, {name: part.unmeasured for name, part in measured.items()})
    columns = len(subject.images) * (subject.options.label_draws or 1)
    images = [columns] * len(weights)
    sizes = {"weight": weights, "activation": sample_sizes(elements), "image": images}
    return Statistics(
        fingerprint=key,
        layers=tuple(names),
        offsets={kind: tuple(accumulate(counts, initial=0)) for kind, counts in sizes.items()},
        totals={"weight": tuple(weights), "activation": tuple(elements), "image": tuple(images)},
        rows=tuple(layer.channels_out for layer in subject.layers),
        choices=subject.menu,
        device=subject.device,
        arrays={name: part.values for name, part in measured.items()},
        errors={name: part.error for name, part in measured.items() if part.error is not None},
        warnings=(*(cache.warnings if cache else ()), *warnings_of(unmeasured)),
        unmeasured=unmeasured,
    )
