"""One pass over the images, one at a time, for every statistic of a single forward and backward.

In eval mode images do not meet, so that the gradient of one image's loss is what Fisher statistics
are made of, and the mean of those gradients is the gradient of the mean loss.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from emqlang.quant.determinism import one_thread
from emqlang.quant.networks.batches import backward
from emqlang.quant.networks.tracing import plain_kernels
from emqlang.quant.statistics.subject import Subject

SMALL: Final = 10**8  # MACs for one image, below which one thread is faster than several


@dataclass(frozen=True, eq=False)
class ImagePass:
    """What one image's forward and backward showed.

    index         of the image
    outputs       of each layer, one per call
    output_grads  gradients of this image's loss there; empty unless some observer needs them
    weight_grads  gradients of this image's loss with respect to the weights; empty likewise
    """

    index: int
    outputs: Sequence[Sequence[Tensor]]
    output_grads: Sequence[Sequence[Tensor]]
    weight_grads: Sequence[Tensor]


class Observer(ABC):
    """An observer takes one statistic in the pass."""

    needs_output_grads = False
    needs_weight_grads = False

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.images = len(subject.images)

    def watching(self) -> AbstractContextManager[object]:
        """Around every forward."""
        return nullcontext()

    def see(self, image: ImagePass) -> None:  # noqa: B027 - watching the forward may be all
        """After every image."""

    @abstractmethod
    def result(self) -> Tensor:
        """After all of them."""


def show_images(subject: Subject, observers: Iterable[Observer]) -> None:
    """Show every image to every observer."""
    observers = list(observers)
    outputs = any(observer.needs_output_grads for observer in observers)
    weights = any(observer.needs_weight_grads for observer in observers)
    count, what = len(subject.images), "gradients" if outputs or weights else "activations"
    with one_thread(subject.network.collection.total_macs < SMALL):
        for index in range(count):
            image = _pass(subject, index, observers, outputs, weights)
            with torch.no_grad():
                for observer in observers:
                    observer.see(image)
            subject.progress(what, index + 1, count)


def _pass(
    subject: Subject, index: int, observers: Sequence[Observer], outputs: bool, weights: bool
) -> ImagePass:
    row = slice(index, index + 1)
    image = subject.images[row]
    with ExitStack() as stack:
        stack.enter_context(plain_kernels())
        stack.enter_context(torch.set_grad_enabled(outputs or weights))
        calls = list(stack.enter_context(subject.outputs()).values())
        for observer in observers:
            stack.enter_context(observer.watching())
        logits = subject.logits(image)
    if not outputs and not weights:
        return ImagePass(index, calls, (), ())
    tensors = [call for layer in calls for call in layer] if outputs else []
    parameters = subject.weights if weights else ()
    loss = subject.loss(logits, image, subject.labels[row])
    grads = iter(gradients(loss, [*tensors, *parameters]))
    output_grads = [[next(grads) for _ in layer] for layer in calls] if outputs else ()
    detached = [[call.detach() for call in layer] for layer in calls]
    return ImagePass(index, detached, output_grads, list(grads))


def gradients(value: Tensor, tensors: Sequence[Tensor], create_graph: bool = False) -> list[Tensor]:
    """The gradients of a number; zeros for what it does not depend on.

    Raises E308 where the network's backward fails.
    """
    if not value.requires_grad:
        return [torch.zeros_like(tensor) for tensor in tensors]
    reached = [tensor for tensor in tensors if tensor.requires_grad]
    with backward():
        found = torch.autograd.grad(value, reached, create_graph=create_graph, allow_unused=True)
    grads = iter(found)
    pairs = [(tensor, next(grads) if tensor.requires_grad else None) for tensor in tensors]
    return [torch.zeros_like(tensor) if grad is None else grad for tensor, grad in pairs]
