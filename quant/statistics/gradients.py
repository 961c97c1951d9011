"""Gradients of the loss with respect to the weights."""

from __future__ import annotations

import torch
from torch import Tensor

from emqlang.quant.statistics.subject import Subject
from emqlang.quant.statistics.visits import Observer, Visit


class Gradient(Observer):
    """`grad`: the gradient of the mean loss."""

    reads_weight_slopes = True

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.sums = [torch.zeros_like(weight, dtype=torch.float32) for weight in subject.weights]

    def see(self, visit: Visit) -> None:
        for total, slope in zip(self.sums, visit.weight_slopes, strict=True):
            total.add_(slope)

    def result(self) -> Tensor:
        return self.subject.flat(self.sums) / self.images


class Fisher(Gradient):
    """`fisher`: the mean over images of the squared gradient of that image's loss."""

    def see(self, visit: Visit) -> None:
        for total, slope in zip(self.sums, visit.weight_slopes, strict=True):
            total.addcmul_(slope, slope)
