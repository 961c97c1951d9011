"""Statistics of a network: every row of `emqlang.grammar.inputs`, taken in as few passes as possible, and cached."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor

from emqlang.grammar.diagnostics import error
from emqlang.grammar.inputs import INPUTS
from emqlang.quant.bits.menu import Choice
from emqlang.quant.data.datasets import Batches
from emqlang.quant.networks.network import Network
from emqlang.quant.networks.tracing import tensors
from emqlang.quant.ptq.grids import WeightQuantizer
from emqlang.quant.statistics import features, fingerprint, hessian, perturbation, shape, synflow
from emqlang.quant.statistics import quantization_errors as errors
from emqlang.quant.statistics.activations import (
    ChannelFisher,
    Sampled,
    SampledSlopes,
    Variance,
    sample_sizes,
)
from emqlang.quant.statistics.cache import Cache
from emqlang.quant.statistics.gradients import Fisher, FisherForm, Gradient
from emqlang.quant.statistics.image_pass import Observer, pass_over
from emqlang.quant.statistics.squared_inputs import MeanSquare
from emqlang.quant.statistics.subject import Loss, Progress, Settings, Subject
from emqlang.quant.statistics.table import Measured, Statistics

__all__ = ["OBSERVERS", "PASSES", "Statistics", "collect_statistics"]

# what is taken in the one pass over the images
OBSERVERS: Mapping[str, type[Observer]] = {
    "grad": Gradient,
    "fisher": Fisher,
    "fisher_qerr": FisherForm,
    "x2": MeanSquare,
    "act": Sampled,
    "grad_act": SampledSlopes,
    "act_var": Variance,
    "fisher_act": ChannelFisher,
}


def _visit(subject: Subject, names: frozenset[str]) -> dict[str, Measured]:
    observers = {name: OBSERVERS[name](subject) for name in sorted(names)}
    pass_over(subject, observers.values())
    return {name: Measured(observer.result()) for name, observer in observers.items()}


@dataclass(frozen=True)
class Pass:
    """Statistics that come together, and how those of them that are wanted are measured."""

    names: frozenset[str]
    measure: Callable[[Subject, frozenset[str]], dict[str, Measured]]
    cached: bool = True


PASSES = (
    Pass(frozenset(shape.FACTS), shape.measure, cached=False),
    Pass(frozenset({"grad_synflow"}), synflow.measure),
    Pass(frozenset({"qerr"}), errors.measure_weights),
    Pass(frozenset(OBSERVERS), _visit),
    Pass(frozenset({"orm"}), features.measure),
    Pass(frozenset({"act_qerr"}), errors.measure_inputs),
    Pass(frozenset({"hess", "hess_trace"}), hessian.measure_diagonal),
    Pass(frozenset({"hess_eig"}), hessian.measure_top),
    Pass(frozenset(perturbation.NAMES), perturbation.measure),
)


def _silent(name: str, done: int, total: int) -> None: ...


def collect_statistics(
    network: Network,
    names: Iterable[str],
    menu: Sequence[Choice],
    data: Batches | None = None,
    *,
    loss: str | Loss = "label",
    hessian_samples: int | None = None,
    stat_images: int = 64,
    seed: int = 0,
    device: torch.device | str = "cpu",
    quantizer: WeightQuantizer | None = None,
    cache: Path | None = None,
    progress: Progress = _silent,
) -> Statistics:
    """The named statistics and no others.

    data             its first `stat_images` images are shown, or all if it has fewer; not read if no statistic needs them
    loss             'label', 'self' for labels drawn from the network's own softmax, or your own: then nothing is cached
    hessian_samples  probes of Hutchinson's estimates, 2 or more
    seed             of probes, sampled positions and drawn labels
    cache            the cache's root folder; None neither reads nor writes one
    progress         told the statistic, the steps done and the steps in all
    Raises E303 for statistics that need data where there is none, E304 for data that does not do, E308, E312, E403.
    """
    if stat_images < 1:
        raise error("E403", "statistics take 1 image or more")
    wanted = frozenset(names)
    needing = sorted(name for name in wanted if INPUTS[name].needs_data)
    images, labels = _take(data, stat_images, network, needing)
    base = Settings()
    settings = Settings(
        loss,
        base.hessian_samples if hessian_samples is None else hessian_samples,
        seed,
        quantizer or base.quantizer,
    )
    subject = Subject(
        network, torch.device(device), tuple(menu), images, labels, settings, progress
    )
    identity, shown = fingerprint.of_network(network), fingerprint.of_images(subject)
    store = None if cache is None or callable(loss) else Cache(cache, identity)
    measured: dict[str, Measured] = {}
    for part in PASSES:
        measured |= _obtain(
            subject, part, wanted & part.names, store if part.cached else None, shown
        )
    return _table(subject, measured, fingerprint.of_all(subject, identity, shown), store)


def _take(
    data: Batches | None, count: int, network: Network, needing: Sequence[str]
) -> tuple[Tensor, Tensor | None]:
    """The images that are shown, and their labels; none if no statistic needs them."""
    if not needing:
        return torch.empty(0, *network.input_shape), None
    if data is None:
        help = ("give images with --data, or --data noise:64 to do without",)
        raise error(
            "E303", f"{', '.join(needing)} must be measured on images, and there are none", *help
        )
    images: list[Tensor] = []
    labels: list[Tensor] = []
    for part, marks in data.batches(count):
        images.append(_fitting(part, network, data.name))
        labels += [] if marks is None else [marks]
        if sum(map(len, images)) >= count:
            break
    if not images:
        raise error("E304", f"{data.name} has no images")
    return torch.cat(images)[:count], torch.cat(labels)[:count] if labels else None


def _fitting(images: Tensor, network: Network, name: str) -> Tensor:
    """Images of the network's own shape, in its precision."""
    if images.shape[1:] != network.input_shape:
        given, wanted = (
            "x".join(map(str, shape)) for shape in (images.shape[1:], network.input_shape)
        )
        raise error("E304", f"the images of {name} are {given}, and the network takes {wanted}")
    example = tensors(network.example)[0]
    return (
        images.to(example.dtype)
        if images.is_floating_point() and example.is_floating_point()
        else images
    )


def _obtain(
    subject: Subject, part: Pass, names: frozenset[str], store: Cache | None, images: str
) -> dict[str, Measured]:
    """The wanted statistics of one pass, from the cache as far as it has them."""
    keys = {name: fingerprint.of_statistic(subject, name, images) for name in sorted(names)}
    cached = {name: store.load(name, key) for name, key in keys.items()} if store else {}
    found = {
        name: Measured(
            kept.values.to(subject.device),
            None if kept.error is None else kept.error.to(subject.device),
        )
        for name, kept in cached.items()
        if kept is not None
    }
    missing = frozenset(names - found.keys())
    if not missing:
        return found
    fresh = part.measure(subject, missing)
    for name, measured in fresh.items():
        if store:
            store.store(name, keys[name], measured)
    return found | fresh


def _table(
    subject: Subject, measured: Mapping[str, Measured], identity: str, store: Cache | None
) -> Statistics:
    elements = [len(subject.images) * size for size in subject.network.collection.act_numel]
    sizes = {
        "weight": [layer.numel for layer in subject.layers],
        "activation": sample_sizes(elements),
    }
    return Statistics(
        fingerprint=identity,
        layers=tuple(layer.name for layer in subject.layers),
        offsets={kind: tuple(accumulate(counts, initial=0)) for kind, counts in sizes.items()},
        totals={"weight": tuple(sizes["weight"]), "activation": tuple(elements)},
        rows=tuple(layer.channels_out for layer in subject.layers),
        choices=subject.menu,
        device=subject.device,
        arrays={name: found.values for name, found in measured.items()},
        errors={name: found.error for name, found in measured.items() if found.error is not None},
        warnings=tuple(store.warnings) if store else (),
    )
