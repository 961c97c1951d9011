"""What a network answers: its scores, and where in them the classes lie, or that it has none.

scores   Of several outputs: the one named `logits`, else the first whose name speaks of classes
         (CLASSES), else the first that is not named as values (VALUES). The rest is `others`: where
         there are classes they are judged by the scores, and all outputs by their relative error.
classes  The last axis of (N, C) and (N, T, C), the second of maps (N, C, H, W). Labels, where there
         are any, decide: the classes are the axis that they lack. Outputs with one score have none,
         nor have those whose labels are floating-point numbers, those that are named as values
         without labels that say otherwise, and detections, a mapping for each image: all values.
causal   Labels that are the network's own token ids belong to a language model, whose position t
         predicts label t + 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from emqlang.grammar.diagnostics import EmqError, error
from emqlang.quant.networks.nested import DEPTH, children, tensors

IGNORED = -100  # the label of what does not count, as torch's cross entropy has it
CLASSES = ("logit", "cls", "class", "score", "prob")  # parts of names of outputs
VALUES = (
    *("box", "coord", "offset", "keypoint", "depth", "flow", "regress", "value", "loss"),
    *("embed", "hidden", "pool", "feature", "state", "attention"),
)
AUXILIARY = "aux"  # heads that only training reads


@dataclass(frozen=True, eq=False)
class Answer:
    """A network's answer for some rows: images, sentences, or whatever the first axis counts.

    scores  (rows, ..., classes), classes last; (rows, ...) where there are none; float32 or wider
    labels  (rows, ...), int64, one for each prediction; of the scores' shape where there are no
            classes; None without labels
    others  what else it returned of floating-point tensors, as it is
    """

    scores: Tensor
    labels: Tensor | None
    has_classes: bool
    others: tuple[Tensor, ...] = ()

    @property
    def classes(self) -> int:
        return self.scores.shape[-1] if self.has_classes else 0

    @property
    def counted(self) -> Tensor:
        """Which labels count: all but IGNORED."""
        assert self.labels is not None
        return self.labels != IGNORED

    def copied(self) -> Answer:
        """The same, of tensors of its own."""
        others = tuple(other.clone() for other in self.others)
        labels = None if self.labels is None else self.labels.clone()
        return replace(self, scores=self.scores.clone(), labels=labels, others=others)

    def losses(self) -> Tensor:
        """The loss of each row (rows,): the mean cross entropy of its labels; without classes, the
        mean squared error. Raises E304 without labels."""
        if self.labels is None:
            raise error("E304", "the data has no labels", "take the network's own: --loss self")
        if not self.has_classes:
            errors = (self.scores - self.labels).square()
            return errors.reshape(len(self.scores), -1).mean(1)
        flat = F.cross_entropy(
            self.scores.flatten(0, -2),
            self.labels.flatten(),
            reduction="none",
            ignore_index=IGNORED,
        ).reshape(len(self.labels), -1)
        counts = self.counted.reshape(len(self.labels), -1).sum(1)
        means: Tensor = flat.sum(1) / counts.clamp(min=1)
        return means

    def loss(self) -> Tensor:
        """The sum of the rows' losses. Raises E304 without labels."""
        labels = self.labels if self.has_classes else None
        if labels is not None and labels.ndim == 1 and bool(self.counted.all()):
            mean: Tensor = F.cross_entropy(self.scores, labels)
            return mean * len(labels)
        return self.losses().sum()

    def drawn(self, generator: torch.Generator) -> Tensor:
        """Labels as the network would give them, on the CPU: classes from its softmax; values with
        normal errors of variance 1/2, whose log-likelihood is minus the squared error."""
        if not self.has_classes:
            noise = torch.randn(self.scores.shape, generator=generator, dtype=torch.float32)
            drawn: Tensor = self.scores.detach().cpu() + noise.to(self.scores.dtype) * 0.5**0.5
            return drawn
        shares = self.scores.detach().softmax(-1).cpu()
        marks = torch.multinomial(shares.reshape(-1, self.classes), 1, generator=generator)
        return marks.reshape(shares.shape[:-1])


def answer(outputs: Any, rows: int, labels: Tensor | None = None, inputs: Any = None) -> Answer:
    """What the network returned for `rows` rows, read as scores. `inputs` is what it was given.

    Raises E304 for labels that do not fit, E308 for outputs without scores.
    """
    name, first, others = _parted(outputs)
    scores = _with_rows(first, rows)
    scores = scores if scores.dtype == torch.float64 else scores.float()
    if labels is not None:
        labels = labels.to(scores.device)
        if not labels.is_floating_point() and _is_causal(scores, labels, inputs):
            scores, labels = scores[:, :-1], labels[:, 1:]
    values = labels is None and (_speaks_of(name, VALUES) or _are_detections(outputs))
    axis = None if values else class_axis(scores, labels)
    if axis is None:
        return Answer(scores, None if labels is None else _values(labels, scores), False, others)
    scores = scores.movedim(axis, -1)
    return Answer(scores, None if labels is None else _marks(labels, scores), True, others)


def logits_of(outputs: Any) -> Tensor:
    """The scores in what a network returns. Raises E308 where there are none."""
    return _parted(outputs)[1]


def _parted(outputs: Any) -> tuple[str, Tensor, tuple[Tensor, ...]]:
    """The scores' name and tensor, and the other floating-point tensors. Raises E308."""
    leaves = [(name, leaf) for name, leaf in _named(outputs) if leaf.is_floating_point()]
    logits = None
    with suppress(LookupError):  # of any object, also of a dict whose keys are attributes
        logits = getattr(outputs, "logits", None)
    if isinstance(logits, Tensor) and logits.is_floating_point():
        leaves.insert(0, ("logits", logits))
    sizable = [leaf for leaf in leaves if leaf[1].ndim] or leaves  # a loss is one number
    for name, leaf in sorted(sizable, key=lambda each: _rank(each[0])):
        return name, leaf, tuple(other for _, other in leaves if other is not leaf)
    what = f"the network returned {type(outputs).__name__}, in which there are no scores"
    raise error("E308", what, "scores are a floating-point tensor, or one under the name `logits`")


def _named(tree: Any, name: str = "", depth: int = DEPTH) -> Iterator[tuple[str, Tensor]]:
    """The tensors in a nest, each with the last name on the way to it."""
    if isinstance(tree, Tensor):
        yield name, tree
        return
    parts = (children(tree) if depth else None) or {}
    named = getattr(type(tree), "_fields", parts) if isinstance(tree, tuple) else parts
    for key, part in zip(named, parts.values(), strict=True):
        yield from _named(part, key if isinstance(key, str) else name, depth - 1)


def _rank(name: str) -> int:
    """How far an output's name is from saying that it holds the scores."""
    if name == "logits" or _speaks_of(name, (*VALUES, AUXILIARY)):
        return 0 if name == "logits" else 3
    return 1 if _speaks_of(name, CLASSES) else 2


def _speaks_of(name: str, words: Sequence[str]) -> bool:
    return any(word in name.lower() for word in words)


def _are_detections(outputs: Any) -> bool:
    """Whether there is a mapping for each image, of as many boxes as were found there."""
    listed = isinstance(outputs, list | tuple) and len(outputs) > 0
    return listed and all(isinstance(each, Mapping) for each in outputs)


def class_axis(scores: Tensor, labels: Tensor | None = None) -> int | None:
    """The axis of the classes in scores (rows, ...); None where there are none."""
    if scores.ndim < 2 or (labels is not None and labels.is_floating_point()):
        return None
    if labels is not None:
        for axis in (-1, 1):
            if labels.shape == scores.select(axis, 0).shape and scores.shape[axis] > 1:
                return axis
    axis = -1 if scores.ndim <= 3 else 1
    return axis if scores.shape[axis] > 1 else None


def _with_rows(scores: Tensor, rows: int) -> Tensor:
    """The scores with their rows first.

    Recurrent networks answer (T, rows, classes); one that squeezes drops the axis of its rows where
    there is but one.
    """
    if scores.ndim and scores.shape[0] == rows:
        return scores
    if scores.ndim == 3 and scores.shape[1] == rows:
        return scores.transpose(0, 1)
    return scores[None] if rows == 1 else scores


def _is_causal(scores: Tensor, labels: Tensor, inputs: Any) -> bool:
    """Whether labels (N, T) of scores (N, T, C) are the token ids that the network was given."""
    if labels.ndim != 2 or scores.ndim != 3 or scores.shape[:2] != labels.shape:
        return False
    counted = labels != IGNORED
    return any(
        leaf.shape == labels.shape
        and not leaf.is_floating_point()
        and bool(counted.any())
        and torch.equal(leaf.to(labels.device)[counted].long(), labels[counted].long())
        for leaf in tensors(inputs)
    )


def _marks(labels: Tensor, scores: Tensor) -> Tensor:
    """Class numbers, checked against the scores."""
    if labels.shape != scores.shape[:-1]:
        raise _unfit(labels, scores)
    marks = labels.long()
    counted = marks[marks != IGNORED]
    if counted.numel() and not 0 <= int(counted.min()) <= int(counted.max()) < scores.shape[-1]:
        least, most, classes = int(counted.min()), int(counted.max()), scores.shape[-1]
        message = f"labels from {least} to {most} leave the classes, 0 to {classes - 1}"
        from_one = ["classes are counted from 0: labels - 1"] * (most == classes and least > 0)
        others = f"labels of what does not count are {IGNORED}"
        raise error("E304", message, *from_one, others)
    return marks


def _values(labels: Tensor, scores: Tensor) -> Tensor:
    """What the values should have been, in the scores' shape: (N,) fits (N, 1)."""
    fits = labels.numel() == scores.numel() and labels.shape[:1] == scores.shape[:1]
    if not fits or not labels.is_floating_point():  # whole numbers may be classes of one score
        raise _unfit(labels, scores)
    return labels.to(scores.dtype).reshape(scores.shape)


def _unfit(labels: Tensor, scores: Tensor) -> EmqError:
    kinds = [f"{str(t.dtype).removeprefix('torch.')} {tuple(t.shape)}" for t in (labels, scores)]
    means = "say what they mean: --loss file.py:function and --metric file.py:function"
    message = f"labels {kinds[0]} do not fit outputs {kinds[1]}"
    return error("E304", message, *_fitting(labels, scores), means)


def _fitting(labels: Tensor, scores: Tensor) -> Iterator[str]:
    """What of the labels would fit, where that is plain."""
    wanted, numbers = scores.shape[:-1], labels.is_floating_point()
    if labels.ndim > 1 and labels.shape[1] == 1 and labels.squeeze(1).shape == wanted:
        yield f"class numbers are labels.squeeze(1){'.long()' if numbers else ''}"
    elif numbers and labels.shape == wanted and bool((labels == labels.round()).all()):
        yield "class numbers are whole: labels.long()"
    elif not numbers and labels.shape == scores.shape and bool((labels.sum(-1) == 1).all()):
        yield "class numbers are labels.argmax(-1)"
