"""One pass over the images, one at a time, in which every statistic of a single forward and backward is taken.

In eval mode images do not meet, so that the gradient of one image's loss is what Fisher statistics are made of, and
the mean of those gradients is the gradient of the mean loss.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from emqlang.quant.determinism import one_thread
from emqlang.quant.networks.tracing import plain_kernels
from emqlang.quant.statistics.subject import Subject

SMALL = 10**8  # multiply-accumulates for one image, below which one thread is faster than several


@dataclass(frozen=True, eq=False)
class Visit:
    """What one image showed.

    index          of the image
    outputs        of each layer, one entry a call
    output_slopes  gradients of this image's loss with respect to them; empty unless some observer reads them
    weight_slopes  gradients of this image's loss with respect to the weights; empty likewise
    """

    index: int
    outputs: Sequence[Sequence[Tensor]]
    output_slopes: Sequence[Sequence[Tensor]]
    weight_slopes: Sequence[Tensor]


class Observer(ABC):
    """Takes one statistic in the pass."""

    reads_output_slopes = False
    reads_weight_slopes = False

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.images = len(subject.images)

    def watching(self) -> AbstractContextManager[object]:
        """Around every forward."""
        return nullcontext()

    def see(self, visit: Visit) -> None:  # noqa: B027 - one that watches the forward needs nothing more
        """After every image."""

    @abstractmethod
    def result(self) -> Tensor:
        """After all of them."""


def pass_over(subject: Subject, observers: Iterable[Observer]) -> None:
    """Shows every image to every observer."""
    observers = list(observers)
    outputs = any(observer.reads_output_slopes for observer in observers)
    weights = any(observer.reads_weight_slopes for observer in observers)
    with one_thread(subject.network.collection.total_macs < SMALL):
        for index in range(len(subject.images)):
            visit = _visit(subject, index, observers, outputs, weights)
            with torch.no_grad():
                for observer in observers:
                    observer.see(visit)
            subject.progress(
                "gradients" if outputs or weights else "activations", index + 1, len(subject.images)
            )


def _visit(
    subject: Subject, index: int, observers: Sequence[Observer], outputs: bool, weights: bool
) -> Visit:
    image = subject.images[index : index + 1]
    with ExitStack() as stack:
        stack.enter_context(plain_kernels())
        stack.enter_context(torch.set_grad_enabled(outputs or weights))
        seen = list(stack.enter_context(subject.outputs()).values())
        for observer in observers:
            stack.enter_context(observer.watching())
        logits = subject.logits(image)
    calls = [call for layer in seen for call in layer]
    if not outputs and not weights:
        return Visit(index, seen, (), ())
    wanted = [*(calls if outputs else ()), *(subject.weights if weights else ())]
    slopes = gradients(subject.loss(logits, image, subject.labels[index : index + 1]), wanted)
    taken = iter(slopes[: len(calls)] if outputs else ())
    output_slopes = [[next(taken) for _ in layer] for layer in seen] if outputs else ()
    weight_slopes = slopes[len(slopes) - len(subject.weights) :] if weights else ()
    return Visit(
        index, [[call.detach() for call in layer] for layer in seen], output_slopes, weight_slopes
    )


def gradients(value: Tensor, wanted: Sequence[Tensor], create_graph: bool = False) -> list[Tensor]:
    """Gradients of a number; zeros for what it does not depend on."""
    if not value.requires_grad:
        return [torch.zeros_like(tensor) for tensor in wanted]
    reached = [tensor for tensor in wanted if tensor.requires_grad]
    found = iter(torch.autograd.grad(value, reached, create_graph=create_graph, allow_unused=True))
    slopes = [next(found) if tensor.requires_grad else None for tensor in wanted]
    return [
        torch.zeros_like(tensor) if slope is None else slope
        for tensor, slope in zip(wanted, slopes, strict=True)
    ]
