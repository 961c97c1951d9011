"""What quantization does to the log-likelihood of each image's label: to first order, or measured.

A value for every image and label: by default that of the loss, one for an image. With label draws
there are as many labels for each image, drawn from the network's own softmax: the expectation over
them is what the Fisher matrix is made of, and neither needs labels nor believes them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Final

import torch
from torch import Tensor

from emqlang.quant.bits.menu import weight_widths
from emqlang.quant.determinism import one_thread
from emqlang.quant.networks.layers import readers
from emqlang.quant.networks.tracing import plain_kernels
from emqlang.quant.ptq.sites import replacing
from emqlang.quant.statistics.image_pass import SMALL, HasGradient, gradients, no
from emqlang.quant.statistics.quantization_errors import find_inputs, input_widths, weight_errors
from emqlang.quant.statistics.subject import Subject
from emqlang.quant.statistics.table import Measured

NAMES: Final = ("shift", "act_shift")


def measure(subject: Subject, names: frozenset[str]) -> dict[str, Measured]:
    """`shift` and `act_shift`: (widths, layers x images x draws), float32, image by image.

    Of each image's gradient, for each label, the products with the errors that quantization makes
    in each layer's weights, or in its input. Raises E304 or E308 where no loss has a gradient.
    """
    along = [_ALONG[name](subject) for name in NAMES if name in names]
    count, draws, graph = len(subject.images), subject.options.label_draws or 1, HasGradient()
    with one_thread(subject.network.collection.total_macs < SMALL):
        for index in range(count):
            shown = subject.show(index)
            with ExitStack() as stack:
                stack.enter_context(plain_kernels())
                for one in along:
                    stack.enter_context(one.watching())
                outputs = subject.answer(shown.batch)
            values = subject.likelihoods(outputs, shown)[0]
            graph.note(values, outputs)
            for draw, value in enumerate(values):
                _follow(along, value, index * draws + draw, retain_graph=draw + 1 < draws)
            subject.progress("shifts", index + 1, count)
    graph.check()
    return {one.name: one.measured() for one in along}


def _follow(along: Sequence[_Along], value: Tensor, column: int, retain_graph: bool) -> None:
    """One backward for all."""
    wanted = [(one, *part) for one in along for part in one.tensors()]
    grads = gradients(value, [tensor for _, _, tensor, _ in wanted], retain_graph=retain_graph)
    with torch.no_grad():
        for (one, layer, _, errors), grad in zip(wanted, grads, strict=True):
            one.add(layer, errors, grad, column)


class _Along:
    """Products of gradients with the errors of some tensors: one statistic, image by image.

    values   (widths, layers, images x draws)
    ran      of each layer, whether it saw an image
    reached  and whether the loss had a gradient there, not all of it 0
    """

    name: str

    def __init__(self, subject: Subject, widths: int) -> None:
        self.subject = subject
        columns = len(subject.images) * (subject.options.label_draws or 1)
        self.values = torch.zeros(widths, len(subject.layers), columns, device=subject.device)
        self.ran, self.reached = ([False] * len(subject.layers) for _ in range(2))

    def watching(self) -> AbstractContextManager[object]:
        """Around every forward."""
        return nullcontext()

    @abstractmethod
    def tensors(self) -> list[tuple[int, Tensor, Tensor]]:
        """After it, the tensors whose gradients are wanted: layer, tensor, errors (widths, n)."""

    def add(self, layer: int, errors: Tensor, grad: Tensor | None, column: int) -> None:
        """One more product."""
        self.ran[layer] |= errors.numel() > 0
        if grad is not None:
            products = errors.double() @ grad.flatten().double()
            self.values[:, layer, column] += products.to(self.values)
            self.reached[layer] = self.reached[layer] or bool(grad.any())

    def measured(self) -> Measured:
        """The values of each width as one flat row, and the layers where they mean nothing."""
        missing = {}
        for index, (ran, reached) in enumerate(zip(self.ran, self.reached, strict=True)):
            if not reached:
                what = "gradient of the loss" if ran else "data"
                missing[index] = no(what, len(self.subject.images))
        return Measured(self.values.flatten(1), unmeasured=missing)


class _Weights(_Along):
    """`shift`: the weights, and the errors of quantizing them."""

    name = "shift"

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject, len(weight_widths(subject.menu)))
        self.errors = weight_errors(subject)

    def tensors(self) -> list[tuple[int, Tensor, Tensor]]:
        pairs = zip(self.subject.weights, self.errors, strict=True)
        return [(index, weight, errors) for index, (weight, errors) in enumerate(pairs)]


class _Inputs(_Along):
    """`act_shift`: what each layer reads in its calls, and the errors of quantizing that."""

    name = "act_shift"

    def __init__(self, subject: Subject) -> None:
        self.widths = input_widths(subject)
        super().__init__(subject, len(self.widths))
        self.grids = find_inputs(subject).grids
        self.index = {layer.name: layer.index for layer in subject.layers}
        self.calls: list[tuple[int, Tensor, Tensor]] = []

    def watching(self) -> AbstractContextManager[object]:
        self.calls = []
        known = [layer for layer in self.subject.layers if layer.name in self.grids]
        return replacing(readers(self.subject.module, known), self._own)

    def _own(self, name: str, tensor: Tensor) -> Tensor:
        """A copy that this layer alone reads, so that its gradient is this layer's."""
        detached, grids = tensor.detach(), self.grids[name]
        errors = [(grids[bits](detached) - detached).flatten() for bits in self.widths]
        own = tensor.clone() if tensor.requires_grad else detached.clone().requires_grad_()
        self.calls.append((self.index[name], own, torch.stack(errors)))
        return own

    def tensors(self) -> list[tuple[int, Tensor, Tensor]]:
        return self.calls


_ALONG: Final[Mapping[str, type[_Weights | _Inputs]]] = {"shift": _Weights, "act_shift": _Inputs}
