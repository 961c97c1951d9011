"""Gradients of the loss with respect to the weights, and along the quantization error."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from emqlang.quant.bits.menu import weight_widths
from emqlang.quant.statistics.image_pass import ImagePass, Observer, Seen
from emqlang.quant.statistics.quantization_errors import weight_errors
from emqlang.quant.statistics.subject import Subject


class Gradient(Observer):
    """`grad` is the gradient of the mean loss."""

    needs_weight_grads = True

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.sums = [torch.zeros_like(weight, dtype=torch.float32) for weight in subject.weights]

    def see(self, image: ImagePass) -> None:
        for total, grad in zip(self.sums, image.weight_grads, strict=True):
            total.add_(grad)

    def result(self) -> Tensor:
        return self.subject.flat(self.sums) / self.images

    def asked(self, seen: Seen) -> Sequence[bool]:
        return seen.weights


class Fisher(Gradient):
    """`fisher` is the mean over images of the squared gradient of that image's loss."""

    def see(self, image: ImagePass) -> None:
        for total, grad in zip(self.sums, image.weight_grads, strict=True):
            total.addcmul_(grad.to(total), grad.to(total))


class FisherError(Observer):
    """`fisher_qerr` is the mean over images of (that image's gradient . quantization error)^2,
    for each width and layer."""

    needs_weight_grads = True

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.errors = weight_errors(subject)
        self.total = subject.zeros(len(weight_widths(subject.menu)), len(subject.layers))

    def see(self, image: ImagePass) -> None:
        pairs = zip(self.errors, image.weight_grads, strict=True)
        products = [error.double() @ grad.flatten().double() for error, grad in pairs]
        self.total += torch.stack(products, dim=1).square()  # (widths, layers)

    def result(self) -> Tensor:
        return self.total / self.images

    def asked(self, seen: Seen) -> Sequence[bool]:
        return seen.weights
