"""What training makes small: the labels' loss, the distance from the float network's answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import kl_div

from emqlang.grammar.diagnostics import error
from emqlang.quant.networks.answers import Answer, answer
from emqlang.quant.networks.batches import labels_of, no_labels, rows
from emqlang.quant.networks.label_values import LabelValues
from emqlang.quant.networks.loss import Own, own_loss
from emqlang.quant.networks.signature import Signature
from emqlang.quant.ptq.evaluate import incomparable


@dataclass(frozen=True)
class Objective:
    """The mean over a batch's rows of `(1 - share) * loss + share * distance`.

    loss      the user's own, or that of the labels: cross entropy; of values, the squared error
    distance  the KL divergence from the float network's softmax, both at the temperature, times the
              temperature squared; of values, the squared error relative to the float values
    """

    signature: Signature
    own: Own | None = None
    share: float = 0.0
    temperature: float = 1.0

    def __call__(self, outputs: Any, batch: Any, teacher: Any) -> Tensor:
        """One number. `teacher` is what the float network answers, if there is a share of it.

        Raises E303 for outputs of other shapes than the float network's, E304 for labels that do
        not fit, or a loss of one's own that fails.
        """
        parts: list[Tensor] = []
        if self.share < 1:
            parts.append((1 - self.share) * self._loss(outputs, batch))
        if self.share > 0:
            parts.append(self.share * self._distance(outputs, batch, teacher))
        return torch.stack([part.float() for part in parts]).sum()

    def check(self, batches: Iterable[Any]) -> None:
        """Raises E303 where there is nothing to learn from: a batch without labels.

        E304 for floating-point labels that name classes.
        """
        if self.share == 1 or self.own is not None:
            return
        values = LabelValues()
        for batch in batches:
            values.add(labels_of(batch, self.signature))
            if labels_of(batch, self.signature) is None:
                help = (
                    "learn from the float network's answers: --distill 1",
                    "or say what is to be small: --loss file.py:function",
                )
                raise error("E303", no_labels(batch, self.signature), *help)
        values.check()

    def correct(self, outputs: Any, batch: Any) -> tuple[int, int]:
        """How many labels of classes have the largest score, and of how many."""
        if self.own is not None or labels_of(batch, self.signature) is None:
            return 0, 0
        said = self._labelled(outputs, batch)
        if said.labels is None or not said.has_classes:
            return 0, 0
        hits = (said.scores.argmax(-1) == said.labels) & said.counted
        return int(hits.sum()), int(said.counted.sum())

    def _loss(self, outputs: Any, batch: Any) -> Tensor:
        size = rows(batch)
        if self.own is not None:
            return own_loss(self.own, outputs, batch, size)
        return self._labelled(outputs, batch).loss() / size

    def _labelled(self, outputs: Any, batch: Any) -> Answer:
        labels, inputs = labels_of(batch, self.signature), self.signature.parts(batch)
        return answer(outputs, rows(batch), labels, inputs)

    def _distance(self, outputs: Any, batch: Any, teacher: Any) -> Tensor:
        said, wanted = (answer(each, rows(batch)) for each in (outputs, teacher))
        if said.scores.shape != wanted.scores.shape:
            raise incomparable()
        if not said.has_classes:
            pairs = zip((said.scores, *said.others), (wanted.scores, *wanted.others), strict=True)
            ratios = [(a - b).square().sum() / _power(b) for a, b in pairs]
            return torch.stack(ratios).mean()
        ours, theirs = (
            (each.scores / self.temperature).log_softmax(-1).flatten(0, -2)
            for each in (said, wanted)
        )
        divergence = kl_div(ours, theirs, reduction="batchmean", log_target=True)
        return divergence * self.temperature**2


def _power(values: Tensor) -> Tensor:
    return values.square().sum().clamp(min=torch.finfo(values.dtype).tiny)
