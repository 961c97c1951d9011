"""How good a network is: accuracy and loss by labels, agreement and KL by a reference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div

from emqlang.grammar.diagnostics import error
from emqlang.quant.networks.answers import IGNORED, class_axis, logits_of
from emqlang.quant.networks.batches import Forward, feed, labels_of, pass_through, rows

Metric = Callable[[Any, Any], float]  # of the network's outputs and the batch: the batch's mean


@dataclass(frozen=True)
class Evaluation:
    """Means over all predictions, per image, token or pixel; None where they cannot be had.

    accuracy   share of labels that have the largest logit
    loss       cross entropy of the labels
    agreement  share of predictions that are the float network's
    kl         mean KL divergence, in nats, of the softmax from the float network's
    metric     mean over images of the caller's own metric
    """

    images: int
    predictions: int
    accuracy: float | None = None
    loss: float | None = None
    agreement: float | None = None
    kl: float | None = None
    metric: float | None = None

    @property
    def basis(self) -> str:
        """What the figures are of, in words."""
        if self.accuracy is not None:
            return f"labels of {self.images:,} images"
        return f"no labels: agreement with the float network on {self.images:,} images"


@dataclass(frozen=True)
class Reference:
    """The float network's logits, batch by batch, to compare several networks with."""

    logits: tuple[Tensor, ...]

    def evaluate(self, data: Iterable[Any]) -> Evaluation:
        """The figures of the float network itself, without another forward."""
        tally = _Tally()
        for batch, logits in zip(data, self.logits, strict=True):
            tally.images += rows(batch)
            _compare(tally, logits, labels_of(batch), logits)
        return tally.evaluation()


@torch.inference_mode()
def predict(module: nn.Module, data: Iterable[Any], *, forward: Forward = feed) -> Reference:
    """The logits of a network for all batches."""
    return Reference(tuple(logits_of(pass_through(module, batch, forward)) for batch in data))


@torch.inference_mode()
def evaluate(
    module: nn.Module,
    data: Iterable[Any],
    metric: Metric | None = None,
    *,
    reference: nn.Module | Reference | None = None,
    forward: Forward = feed,
) -> Evaluation:
    """The figures of a network in eval mode on a data set; see Evaluation.

    Raises E303 where there is neither a label, a reference nor a metric; E304 for labels that do
    not fit the logits or a reference of another data set; E308 where the network fails; E312 where
    its outputs are not finite.
    """
    tally = _Tally()
    for batch, expected in _paired(data, reference, forward):
        outputs = pass_through(module, batch, forward)
        tally.images += rows(batch)
        if metric is not None:
            tally.add("metric", float(metric(outputs, batch)) * rows(batch), rows(batch))
        labels = labels_of(batch)
        if metric is not None and labels is not None and labels.is_floating_point():
            labels = None  # the metric knows what they are
        if labels is not None or expected is not None:
            _compare(tally, logits_of(outputs), labels, expected)
        elif metric is None:
            message = "the data has no labels, and there is nothing to compare with"
            raise error("E303", message, "give labels, or the float network")
    if not tally.images:
        raise error("E304", "the data has no images")
    return tally.evaluation()


class _Tally:
    """Sums and counts of what is averaged."""

    def __init__(self) -> None:
        self.images = 0
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}

    def add(self, name: str, total: float | Tensor, count: int) -> None:
        self.sums[name] = self.sums.get(name, 0.0) + float(total)
        self.counts[name] = self.counts.get(name, 0) + count

    def evaluation(self) -> Evaluation:
        counted = {name: count for name, count in self.counts.items() if count}
        means = {name: self.sums[name] / count for name, count in counted.items()}
        counts = [count for name, count in self.counts.items() if name != "metric"]
        predictions = max(counts, default=self.images)
        return Evaluation(self.images, predictions, **means)


def _paired(
    data: Iterable[Any], reference: nn.Module | Reference | None, forward: Forward
) -> Iterator[tuple[Any, Tensor | None]]:
    """Every batch with the reference's logits for it."""
    if not isinstance(reference, Reference):
        for batch in data:
            outputs = None if reference is None else pass_through(reference, batch, forward)
            yield batch, None if outputs is None else logits_of(outputs)
        return
    left = iter(reference.logits)
    for batch in data:
        expected = next(left, None)
        if expected is None:
            raise error("E304", "the reference was made from fewer batches than these")
        yield batch, expected


def _compare(tally: _Tally, logits: Tensor, labels: Tensor | None, expected: Tensor | None) -> None:
    """Add one batch's logits, against its labels and against the float network's logits."""
    if not logits.isfinite().all():
        raise error("E312", "the network's outputs hold values that are not finite")
    axis = class_axis(logits, labels)
    axis = -1 if axis is None else axis
    logits = logits.movedim(axis, -1)
    if labels is not None:
        _add_labelled(tally, logits, labels.to(logits.device))
    if expected is not None:
        _add_agreement(tally, logits, expected.movedim(axis, -1))


def _add_labelled(tally: _Tally, logits: Tensor, labels: Tensor) -> None:
    predictions = logits.argmax(-1)
    if labels.is_floating_point() or labels.shape != predictions.shape:
        given, fitting = tuple(labels.shape), tuple(predictions.shape)
        raise error("E304", f"labels of shape {given} do not fit predictions of shape {fitting}")
    counted = labels != IGNORED
    outside = labels[counted & ((labels < 0) | (labels >= logits.shape[-1]))]
    if outside.numel():
        message = f"label {int(outside[0])} leaves the classes, 0 to {logits.shape[-1] - 1}"
        raise error("E304", message)
    tally.add("accuracy", ((predictions == labels) & counted).sum(), int(counted.sum()))
    flat, targets = logits.flatten(0, -2), labels.flatten().long()
    loss = cross_entropy(flat, targets, reduction="sum", ignore_index=IGNORED)
    tally.add("loss", loss, int(counted.sum()))


def _add_agreement(tally: _Tally, logits: Tensor, expected: Tensor) -> None:
    if expected.shape != logits.shape:
        raise error("E304", "the reference was made from other batches than these")
    predictions = logits.argmax(-1)
    tally.add("agreement", (predictions == expected.argmax(-1)).sum(), predictions.numel())
    own, reference = logits.log_softmax(-1), expected.log_softmax(-1)
    divergence = kl_div(own, reference, reduction="sum", log_target=True)
    tally.add("kl", divergence, predictions.numel())
