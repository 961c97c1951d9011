"""Whether floating-point labels are values, or say in another way which classes are right."""

from __future__ import annotations

import torch
from torch import Tensor

from emqlang.grammar.diagnostics import EmqError, error
from emqlang.quant.networks.answers import IGNORED

HELP = "say what they mean: --loss file.py:function, and --metric file.py:function to evaluate"


class LabelValues:
    """Floating-point labels of a whole data set, read batch by batch.

    Values among which nothing but 0 and 1, or nothing but shares that add up to 1, is ever found
    are not what a network with logits has the squared error from. A few rows of values may look
    like them, so that no single batch decides.
    """

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self.kind = ""
        self.found: set[float] = set()  # of 0 and 1
        self.binary = self.shares = True

    def add(self, labels: Tensor | None) -> None:
        if labels is None or not labels.is_floating_point() or not labels.numel():
            return
        self.shape, self.kind = tuple(labels.shape), str(labels.dtype).removeprefix("torch.")
        labels = labels[labels != IGNORED] if labels.ndim < 2 else labels
        ones, zeros = labels == 1, labels == 0
        self.found |= {0.0} if bool(zeros.any()) else set()
        self.found |= {1.0} if bool(ones.any()) else set()
        self.binary &= bool((ones | zeros).all())
        self.shares &= _are_shares(labels)

    @property
    def problem(self) -> EmqError | None:
        """E304 for probabilities of classes, one-hot ones too, and for 0 and 1 alone."""
        what = f"the labels, {self.kind} {self.shape},"
        if self.shape and self.shares:
            message = f"{what} are probabilities of classes or one-hot, and not values"
            return error("E304", message, "class numbers are labels.argmax(1)", HELP)
        if self.shape and self.binary and len(self.found) == 2:
            return error("E304", f"{what} are 0 and 1, which name classes and are not values", HELP)
        return None

    def check(self) -> None:
        """Raises E304 where there is a problem."""
        if (problem := self.problem) is not None:
            raise problem


def _are_shares(labels: Tensor) -> bool:
    """Whether all rows are shares of the classes, which are the second axis or the last."""
    tolerance = 1e-2 if torch.finfo(labels.dtype).bits < 32 else 1e-4
    return (
        labels.ndim > 1
        and bool((labels >= 0).all())
        and any(
            labels.shape[axis] > 1
            and bool(((labels.double().sum(axis) - 1).abs() <= tolerance).all())
            for axis in (1, -1)
        )
    )
