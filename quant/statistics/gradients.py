"""Gradients of the loss with respect to the weights, and what they say of the quantization error."""

from __future__ import annotations

import torch
from torch import Tensor

from emqlang.quant.bits.menu import weight_widths
from emqlang.quant.statistics.image_pass import Observer, Visit
from emqlang.quant.statistics.quantization_errors import quantized
from emqlang.quant.statistics.subject import Subject


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


class FisherForm(Observer):
    """`fisher_qerr`: the mean over images of (that image's gradient . quantization error)^2, for each width and layer."""

    reads_weight_slopes = True

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        widths = weight_widths(subject.menu)
        self.errors = [
            torch.stack(
                [quantized(subject, index, bits) - layer.weight.detach() for bits in widths]
            ).flatten(1)
            for index, layer in enumerate(subject.layers)
        ]
        self.total = subject.numbers([[0.0] * len(subject.layers)] * len(widths))

    def see(self, visit: Visit) -> None:
        pairs = zip(self.errors, visit.weight_slopes, strict=True)
        along = torch.stack(
            [error.double() @ slope.flatten().double() for error, slope in pairs], dim=1
        )  # (widths, layers)
        self.total += along.square()

    def result(self) -> Tensor:
        return self.total / self.images
