"""How good a network is, by labels, and how near to a reference.

What a network answers is read by `answers`. Where there are classes: accuracy and cross entropy by
labels, agreement and KL by a reference. Where there are none: the mean squared error by labels, and
the relative error of the outputs by a reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from math import inf, isfinite, log10
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div

from emqlang.grammar.diagnostics import EmqError, error
from emqlang.quant.networks.answers import IGNORED, Answer, answer
from emqlang.quant.networks.batches import labels_of, no_labels, pass_through, rows
from emqlang.quant.networks.label_values import LabelValues
from emqlang.quant.networks.nested import mapped
from emqlang.quant.networks.signature import Signature
from emqlang.quant.ptq.errors import Errors
from emqlang.quant.user_code import foreign, load_function

Metric = Callable[[Any, Any], float]  # of the network's outputs and the batch: the batch's mean
FIDELITY = "fidelity"  # 1 - the relative error of the outputs
CROSS_ENTROPY, SQUARED_ERROR = "cross entropy", "mean squared error"


@dataclass(frozen=True)
class Quality:
    """A network's quality in one number beside its reference's; larger is better.

    measure  'accuracy', where there are labels; else 'agreement with float'; where there are no
             classes 'fidelity', 1 - the relative error of the outputs
    drop     how much less than the reference's it is
    error    the standard error of the drop, over the images; 0 for fidelity
    """

    measure: str
    value: float
    drop: float
    error: float

    @property
    def reference(self) -> float:
        return self.value + self.drop


@dataclass(frozen=True)
class Evaluation:
    """Means over all predictions, per image, token or pixel; None where they cannot be had.

    accuracy        share of labels that have the largest score
    loss            of the labels: `loss_name` says which, as it says what `metric` is
    agreement       share of predictions that are the float network's
    kl              mean KL divergence, in nats, of the softmax from the float network's
    relative_error  norm of the outputs' difference from the float network's, over these outputs'
                    norm; of several outputs, the largest. None where labels name classes, and there
                    is one output
    metric          mean over images of the caller's own metric
    drops           of each image, the share of its right predictions, or without labels of the
                    float network's, that was lost (1) or won (-1) (images,); without classes its
                    part in the relative error, to first order. The mean is the drop of `quality`
    """

    images: int
    predictions: int
    accuracy: float | None = None
    loss: float | None = None
    agreement: float | None = None
    kl: float | None = None
    relative_error: float | None = None
    metric: float | None = None
    loss_name: str | None = None
    metric_name: str | None = None
    drops: Tensor | None = field(default=None, repr=False, compare=False)

    @property
    def sqnr(self) -> float | None:
        """Signal to quantization noise of the outputs, in dB; infinite where they are equal."""
        ratio = self.relative_error
        if not ratio:
            return None if ratio is None else inf
        return -20 * log10(ratio)

    @property
    def basis(self) -> str:
        """What the figures are of, in words."""
        images = f"{self.images:,} images"
        if self.accuracy is not None:
            return f"labels of {images}"
        if self.loss is not None:
            return f"labels of {images}, which are numbers"
        why = "no labels" if self.metric is None else f"labels that only {self.metric_name} reads"
        if self.agreement is not None:
            return f"{why}: agreement with the float network on {images}"
        if self.relative_error is not None:
            return f"{why} and no classes: error against the float network on {images}"
        return f"{self.metric_name} on {images}"

    @property
    def comparable(self) -> bool:
        """Whether there is anything to compare networks by."""
        found = self.accuracy, self.agreement, self.relative_error
        return any(figure is not None for figure in found)

    def quality(self, reference: Evaluation) -> Quality:
        """In one number, beside the float network's. Raises E303 where there is none."""
        error = 0.0 if self.drops is None else _standard_error(self.drops)
        if self.accuracy is not None and reference.accuracy is not None:
            return Quality("accuracy", self.accuracy, reference.accuracy - self.accuracy, error)
        if self.agreement is not None:
            return Quality("agreement with float", self.agreement, 1 - self.agreement, error)
        if self.relative_error is not None:
            return Quality(FIDELITY, 1 - self.relative_error, self.relative_error, 0.0)
        raise incomparable()


def _standard_error(values: Tensor) -> float:
    """Of their mean; infinite for one value."""
    return float(values.std()) / len(values) ** 0.5 if len(values) > 1 else inf


def incomparable() -> EmqError:
    message = "the quantized network's outputs have other shapes than the float network's"
    return error("E303", message, "give labels of classes, or judge by a metric of your own")


@dataclass(frozen=True)
class Reference:
    """The float network's answers, batch by batch, to compare several networks with.

    sizes    rows of the batches
    answers  None for outputs that only the metric can read
    """

    sizes: tuple[int, ...]
    answers: tuple[Answer | None, ...]
    metric: float | None = None
    metric_name: str | None = None

    def evaluate(self) -> Evaluation:
        """The figures of the float network itself, without another forward."""
        tally = _Tally(self.metric_name)
        for size, said in zip(self.sizes, self.answers, strict=True):
            tally.images += size
            if said is not None:
                tally.compare(said, said)
        if self.metric is not None:
            tally.add("metric", self.metric * tally.images, tally.images)
        return tally.evaluation()


@torch.no_grad()
def predict(
    module: nn.Module,
    data: Iterable[Any],
    metric: Metric | None = None,
    *,
    signature: Signature | None = None,
) -> Reference:
    """The answers of a network for all batches, and its metric. Raises as `evaluate` does."""
    signature = signature or Signature.of(module)
    tally = _Tally(name_of(metric))
    sizes, answers = list[int](), list[Answer | None]()
    for batch in filter(rows, data):
        outputs = pass_through(module, batch, signature.forward)
        sizes.append(rows(batch))
        said = _said(outputs, batch, signature, metric)
        answers.append(
            said if said is None else said.copied()
        )  # a loader may fill its tensors anew
        tally.measure(metric, outputs, batch)
    if not sizes:
        raise error("E304", "the data has no images")
    return Reference(tuple(sizes), tuple(answers), tally.mean("metric"), tally.metric_name)


@torch.no_grad()
def evaluate(
    module: nn.Module,
    data: Iterable[Any],
    metric: Metric | None = None,
    *,
    reference: nn.Module | Reference | None = None,
    signature: Signature | None = None,
) -> Evaluation:
    """The figures of a network in eval mode on a data set; see Evaluation.

    metric     with one, nothing is required of labels and outputs: what they do not fit is left out
    signature  how batches are fed; by default as the parameters of the forward say
    Raises E303 where there is neither a label, a reference nor a metric; E304 for labels that do
    not fit the outputs or a reference of another data set; E308 where the network fails; E312 where
    its outputs are not finite.
    """
    signature = signature or Signature.of(module)
    tally = _Tally(name_of(metric))
    for batch, kept in _paired(data, reference):
        outputs, size = pass_through(module, batch, signature.forward), rows(batch)
        tally.images += size
        said = _said(outputs, batch, signature, metric)
        expected = kept
        if isinstance(reference, nn.Module):
            wanted = pass_through(reference, batch, signature.forward)
            expected = _said(wanted, batch, signature, metric)
        if said is not None and (said.labels is not None or expected is not None):
            tally.compare(said, expected)
        elif metric is None:
            message = f"{no_labels(batch, signature)}, and there is nothing to compare with"
            raise error("E303", message, "give labels, or the float network")
        tally.measure(metric, outputs, batch)
    if not tally.images:
        raise error("E304", "the data has no images")
    found = tally.evaluation()
    if metric is None and not found.comparable and found.loss is None and not tally.ignored:
        raise incomparable()
    return found


def load_metric(reference: str) -> Metric:
    """The metric that file.py:function names. Raises E301, E403."""
    return load_function(reference, "metric(outputs, batch), a number")


def name_of(metric: Metric | None) -> str | None:
    """The name of a function, or 'metric'."""
    name = getattr(metric, "__name__", "<lambda>")
    return None if metric is None else "metric" if name == "<lambda>" else name


def _paired(
    data: Iterable[Any], reference: nn.Module | Reference | None
) -> Iterator[tuple[Any, Answer | None]]:
    """Every batch that has rows, with the answer that was kept for it."""
    if not isinstance(reference, Reference):
        yield from ((batch, None) for batch in filter(rows, data))
        return
    left = iter(zip(reference.sizes, reference.answers, strict=True))
    for batch in filter(rows, data):
        size, expected = next(left, (0, None))
        if size != rows(batch):
            raise error("E304", "the reference was made from other batches than these")
        yield batch, expected
    if next(left, None) is not None:
        raise error("E304", "the reference was made from more batches than these")


def _said(outputs: Any, batch: Any, signature: Signature, metric: Metric | None) -> Answer | None:
    """The outputs read; beside a metric, without labels that do not fit, or not at all."""
    labels, size = labels_of(batch, signature), rows(batch)
    inputs = signature.parts(batch)
    if metric is None:
        return answer(outputs, size, labels, inputs)
    for given in (labels, None):
        try:
            return answer(outputs, size, given, inputs)
        except EmqError:
            continue
    return None


class _Tally:
    """Sums and counts of what is averaged."""

    def __init__(self, metric_name: str | None) -> None:
        self.metric_name = metric_name
        self.images = 0
        self.loss_name: str | None = None
        self.labelled: bool | None = None  # whether the last batch was
        self.ignored = False  # whether there are labels, of which none counts
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self.values = LabelValues()
        self.scores_alike = True  # in shape with the reference's
        self.errors = Errors()
        self.drops: list[Tensor] = []

    def add(self, name: str, total: float | Tensor, count: int) -> None:
        self.sums[name] = self.sums.get(name, 0.0) + float(total)
        self.counts[name] = self.counts.get(name, 0) + count

    def mean(self, name: str) -> float | None:
        count = self.counts.get(name, 0)
        return self.sums[name] / count if count else None

    def measure(self, metric: Metric | None, outputs: Any, batch: Any) -> None:
        """Add the caller's own metric of one batch. Raises E304 where it fails or is no number."""
        if metric is not None:
            given = mapped(torch.clone, batch)  # it may write to it
            with foreign("E304", f"the metric '{self.metric_name}'", seed=0):
                value = float(metric(outputs, given))
            if not isfinite(value):
                raise error("E304", f"the metric '{self.metric_name}' returned {value}")
            self.add("metric", value * rows(batch), rows(batch))

    def compare(self, said: Answer, expected: Answer | None) -> None:
        """Add one batch, against its labels and against the float network's answer."""
        for scores in (said.scores, *([] if expected is None else [expected.scores])):
            if not scores.isfinite().all():
                raise error("E312", "the network's outputs hold values that are not finite")
        if self.labelled not in (None, said.labels is not None) and self.metric_name is None:
            raise error("E304", "some batches have labels, and others have none")
        self.labelled = said.labels is not None
        if said.labels is not None:
            self._add_labelled(said)
        if expected is None:
            return
        if expected.scores.shape != said.scores.shape:
            self.scores_alike = self.errors.alike = False
            return
        if said.has_classes:
            self._add_agreement(said, expected.scores.to(said.scores.device))
            self._add_drops(said, expected.scores.to(said.scores.device))
        if said.others or said.labels is None or not said.has_classes:
            self.errors.add([said.scores, *said.others], [expected.scores, *expected.others])

    def _add_labelled(self, said: Answer) -> None:
        labels, scores = said.labels, said.scores
        assert labels is not None
        if not said.has_classes:
            self.values.add(labels)
            self.loss_name = SQUARED_ERROR
            self.add("loss", (scores - labels).double().square().sum(), labels.numel())
            return
        count = int(said.counted.sum())
        self.ignored |= not count
        self.loss_name = CROSS_ENTROPY
        self.add("accuracy", ((scores.argmax(-1) == labels) & said.counted).sum(), count)
        flat, targets = scores.flatten(0, -2), labels.flatten()
        loss = cross_entropy(flat, targets, reduction="sum", ignore_index=IGNORED)
        self.add("loss", loss, count)

    def _add_agreement(self, said: Answer, expected: Tensor) -> None:
        predictions = said.scores.argmax(-1)
        self.add("agreement", (predictions == expected.argmax(-1)).sum(), predictions.numel())
        own, reference = said.scores.log_softmax(-1), expected.log_softmax(-1)
        divergence = kl_div(own, reference, reduction="sum", log_target=True)
        self.add("kl", divergence, predictions.numel())

    def _add_drops(self, said: Answer, expected: Tensor) -> None:
        """How much of what was right in each row no longer is."""
        before, after = expected.argmax(-1), said.scores.argmax(-1)
        counted = torch.ones_like(after, dtype=torch.bool)
        wanted = before
        if said.labels is not None:
            wanted, counted = said.labels, said.counted
        lost = ((before == wanted).double() - (after == wanted).double()) * counted
        counts = counted.reshape(len(counted), -1).sum(1)
        shares = lost.reshape(len(lost), -1).sum(1) / counts.clamp(min=1)
        self.drops.append(shares.cpu())

    def evaluation(self) -> Evaluation:
        """The figures. Raises E304 for labels that name classes as values, but beside a metric."""
        if self.metric_name is None:
            self.values.check()
        elif self.values.problem is not None:
            del self.counts["loss"]
        names = "accuracy", "loss", "agreement", "kl", "metric"
        means = {name: self.mean(name) for name in names}
        if not self.scores_alike:  # of some batches only
            means |= {"agreement": None, "kl": None}
        if means["kl"] is not None:
            means["kl"] = max(0.0, means["kl"])  # less is rounding
        counts = [count for name, count in self.counts.items() if name != "metric"]
        return Evaluation(
            self.images,
            max(counts, default=self.images),
            **means,
            relative_error=self.errors.relative(),
            loss_name=None if means["loss"] is None else self.loss_name,
            metric_name=None if means["metric"] is None else self.metric_name,
            drops=self._shares(),
        )

    def _shares(self) -> Tensor | None:
        """What each row has in the drop; None where the rows cannot be told."""
        if not self.drops:
            return self.errors.shares()
        return torch.cat(self.drops) if self.scores_alike else None
