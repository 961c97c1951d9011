"""One pass over the images, one at a time, for every statistic of a single forward and backward.

In eval mode images do not meet, so that the gradient of one image's loss is what Fisher statistics
are made of, and the mean of those gradients is the gradient of the mean loss.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from emqlang.grammar.diagnostics import error
from emqlang.quant.determinism import one_thread
from emqlang.quant.networks.batches import backward
from emqlang.quant.networks.nested import tensors
from emqlang.quant.networks.tracing import plain_kernels
from emqlang.quant.statistics.subject import Shown, Subject

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

    def asked(self, seen: Seen) -> Sequence[bool]:
        """What must have been seen of a layer for the result to mean anything there."""
        return seen.rows


class Seen:
    """What the images have shown of each layer so far.

    rows     whether it put anything out
    outputs  whether the loss had a gradient, not all of it 0, at its outputs
    weights  and at its weight
    """

    def __init__(self, subject: Subject) -> None:
        self.images = len(subject.images)
        self.rows, self.outputs, self.weights = ([False] * len(subject.layers) for _ in range(3))

    def add(self, image: ImagePass) -> None:
        """One more image."""
        for index, calls in enumerate(image.outputs):
            self.rows[index] |= any(call.numel() for call in calls)
        for index, grads in enumerate(image.output_grads):
            self.outputs[index] = self.outputs[index] or any(bool(grad.any()) for grad in grads)
        for index, grad in enumerate(image.weight_grads):
            self.weights[index] = self.weights[index] or bool(grad.any())

    def unmeasured(self, asked: Sequence[bool]) -> dict[int, str]:
        """Layers of which something was not seen, with the reason."""
        missing = [index for index, shown in enumerate(asked) if not shown]
        said = {index: "gradient of the loss" if self.rows[index] else "data" for index in missing}
        return {index: no(what, self.images) for index, what in said.items()}


def no(what: str, images: int) -> str:
    """Why a layer has no value."""
    return f"no {what} reaches it on any of {images:,} images"


def show_images(subject: Subject, observers: Iterable[Observer]) -> Seen:
    """Show every image to every observer. Raises E304 or E308 where no loss has a gradient."""
    observers = list(observers)
    outputs = any(observer.needs_output_grads for observer in observers)
    weights = any(observer.needs_weight_grads for observer in observers)
    count, what = len(subject.images), "gradients" if outputs or weights else "activations"
    seen, graph = Seen(subject), HasGradient()
    with one_thread(subject.network.collection.total_macs < SMALL):
        for index in range(count):
            shown = subject.show(index)
            calls, answer = _forward(subject, shown, observers, outputs or weights)
            image = ImagePass(index, calls, (), ())
            if outputs or weights:
                loss = subject.loss(answer, shown)
                graph.note(loss, answer)
                image = _backward(subject, image, loss, outputs, weights)
            with torch.no_grad():
                seen.add(image)
                for observer in observers:
                    observer.see(image)
            subject.progress(what, index + 1, count)
    if outputs or weights:
        graph.check()
    return seen


def _forward(
    subject: Subject, shown: Shown, observers: Sequence[Observer], graph: bool
) -> tuple[list[list[Tensor]], Any]:
    """What each layer puts out in its calls, and what the network answers."""
    with ExitStack() as stack:
        stack.enter_context(plain_kernels())
        stack.enter_context(torch.set_grad_enabled(graph))
        calls = list(stack.enter_context(subject.outputs()).values())
        for observer in observers:
            stack.enter_context(observer.watching())
        return calls, subject.answer(shown.batch)


def _backward(
    subject: Subject, image: ImagePass, loss: Tensor, outputs: bool, weights: bool
) -> ImagePass:
    """The image with the gradients of its loss."""
    calls = [call for layer in image.outputs for call in layer] if outputs else []
    parameters = subject.weights if weights else ()
    wanted = [*calls, *parameters]
    grads = iter(filled(gradients(loss, wanted), wanted))
    output_grads = [[next(grads) for _ in layer] for layer in image.outputs] if outputs else ()
    detached = [[call.detach() for call in layer] for layer in image.outputs]
    return ImagePass(image.index, detached, output_grads, list(grads))


class HasGradient:
    """Whether some image's loss has a gradient; that of one image may be a constant."""

    def __init__(self) -> None:
        self.loss = self.answer = False

    def note(self, loss: Tensor, answer: Any) -> None:
        """One more loss, and what it was made of."""
        self.loss |= loss.requires_grad
        self.answer |= any(leaf.requires_grad for leaf in tensors(answer))

    def check(self) -> None:
        """Raises E304 where only the loss, E308 where already the network loses the gradient."""
        if self.loss:
            return
        if self.answer:
            help = "make it of the outputs with torch alone, without detach() and item()"
            raise error("E304", "the loss has no gradient", help)
        help = "its forward may not run under no_grad or inference_mode, nor detach what it returns"
        raise error("E308", "what the network returns has no gradient", help)


def gradients(
    value: Tensor,
    wanted: Sequence[Tensor],
    create_graph: bool = False,
    retain_graph: bool | None = None,
) -> list[Tensor | None]:
    """The gradients of a number; None for what it does not depend on.

    Raises E308 where the network's backward fails.
    """
    reached = [tensor for tensor in wanted if tensor.requires_grad]
    if not value.requires_grad or not reached:
        return [None] * len(wanted)
    with backward():
        found = torch.autograd.grad(
            value, reached, retain_graph=retain_graph, create_graph=create_graph, allow_unused=True
        )
    grads = iter(found)
    return [next(grads) if tensor.requires_grad else None for tensor in wanted]


def filled(grads: Sequence[Tensor | None], tensors: Sequence[Tensor]) -> list[Tensor]:
    """The gradients, zeros for those that there are not."""
    pairs = zip(grads, tensors, strict=True)
    return [torch.zeros_like(tensor) if grad is None else grad for grad, tensor in pairs]
