"""What is measured of a row: accuracy, which images are right, loss, agreement with float."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from emqlang.grammar.diagnostics import error

if TYPE_CHECKING:
    from torch import Tensor

Marks = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Measurement:
    """One row's measurement; of an imported row the accuracy alone may be known.

    loss       mean cross entropy
    agreement  share of the images on which the prediction is the float network's
    right      (images,): whether each image's largest logit is its label's
    seconds    to quantize and test
    saved      share of the MACs that did not have to run
    """

    accuracy: float
    loss: float | None = None
    agreement: float | None = None
    right: Marks | None = None
    seconds: float | None = None
    saved: float | None = None


def measurement(
    logits: Sequence[Tensor],
    labels: Tensor,
    answers: Tensor,
    seconds: float = 0.0,
    saved: float = 0.0,
) -> Measurement:
    """Logits (N, classes) in batches against labels (N,) and the float network's answers (N,).

    Raises E304, E312.
    """
    import torch  # a second, and tables are read without
    from torch.nn.functional import cross_entropy

    if labels.ndim != 1 or logits[0].ndim != 2:
        raise error("E304", "a benchmark table is of networks that put each image into one class")
    with torch.no_grad():
        predictions = torch.cat([part.argmax(1) for part in logits])
        pairs = zip(logits, torch.split(labels, [len(part) for part in logits]), strict=True)
        loss = sum(float(cross_entropy(part.double(), of, reduction="sum")) for part, of in pairs)
        if not np.isfinite(loss):
            raise error("E312", "the network's outputs hold values that are not finite")
        right = (predictions == labels).numpy()
        agreement = float((predictions == answers).double().mean())
    return Measurement(float(right.mean()), loss / len(labels), agreement, right, seconds, saved)
