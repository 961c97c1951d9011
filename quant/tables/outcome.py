"""What testing a network on labelled images gave: which it got right, its loss, and how often it says what float says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from emqlang.grammar.diagnostics import error

Marks = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Outcome:
    """One row's measurement.

    right      (images,): whether each image's largest logit is its label's
    loss       mean cross entropy
    agreement  share of the images on which the prediction is the float network's
    seconds    to quantize and test
    saved      share of the MACs that did not have to run
    """

    right: Marks
    loss: float
    agreement: float
    seconds: float = 0.0
    saved: float = 0.0

    @property
    def accuracy(self) -> float:
        return float(self.right.mean())


@torch.no_grad()
def judge(
    logits: Sequence[Tensor],
    labels: Tensor,
    answers: Tensor,
    seconds: float = 0.0,
    saved: float = 0.0,
) -> Outcome:
    """Logits (N, classes) in batches against labels (N,) and the float network's answers (N,). Raises E304, E312."""
    if labels.ndim != 1 or logits[0].ndim != 2:
        raise error("E304", "a benchmark table is of networks that put each image into one class")
    found = torch.cat([part.argmax(1) for part in logits])
    loss = sum(
        float(cross_entropy(part.double(), marks, reduction="sum"))
        for part, marks in zip(
            logits, torch.split(labels, [len(part) for part in logits]), strict=True
        )
    )
    if not np.isfinite(loss):
        raise error("E312", "the network's outputs hold values that are not finite")
    return Outcome(
        (found == labels).numpy(),
        loss / len(labels),
        float((found == answers).double().mean()),
        seconds,
        saved,
    )
