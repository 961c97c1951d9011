"""What the layers put out, and the gradients of the loss there."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Final

import torch
from torch import Tensor

from emqlang.quant.networks.layers import Layer
from emqlang.quant.statistics.image_pass import ImagePass, Observer, Seen
from emqlang.quant.statistics.subject import Subject

SAMPLES: Final = 65_536  # elements kept of a layer's output


def sample_sizes(totals: Sequence[int]) -> list[int]:
    """How many elements are kept of each layer's."""
    return [min(SAMPLES, total) for total in totals]


class OutputSample(Observer):
    """`act` is the layers' outputs at seeded positions, image by image and call by call.

    A layer that puts out more or less for some image than for the example, as an expert does that
    some images do not reach, has a sample of what there was, spread over as many places.
    """

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.sizes = subject.act_sizes
        generator = subject.generator("positions")
        self.positions = [_spread(self.images * size, generator) for size in self.sizes]
        self.parts: list[list[Tensor]] = [[] for _ in self.sizes]

    def see(self, image: ImagePass) -> None:
        for layer, calls in zip(self.subject.layers, self._tensors(image), strict=True):
            values = torch.cat([call.flatten() for call in calls]) if calls else torch.empty(0)
            size, positions = self.sizes[layer.index], self.positions[layer.index]
            start = image.index * size
            bounds = torch.tensor([start, start + size])
            first, last = torch.searchsorted(positions, bounds).tolist()
            chosen = positions[first:last] - start
            if len(values) != size:
                share = len(positions) / max(1, self.images * size)
                chosen = _even(len(values), min(len(values), ceil(len(values) * share)))
            self.parts[layer.index].append(values[chosen.to(values.device)].float())

    def _tensors(self, image: ImagePass) -> Sequence[Sequence[Tensor]]:
        return image.outputs

    def result(self) -> Tensor:
        return torch.cat([self._sample(index) for index in range(len(self.sizes))])

    def _sample(self, index: int) -> Tensor:
        """As many elements as there are positions; zeros where there was none."""
        found, wanted = torch.cat(self.parts[index]), len(self.positions[index])
        if len(found) == wanted:
            return found
        if not len(found):
            return torch.zeros(wanted, device=self.subject.device)
        return found[_even(len(found), wanted).to(found.device)]


class OutputGradSample(OutputSample):
    """`grad_act` is the gradient of the mean loss with respect to the elements of `act`."""

    needs_output_grads = True

    def _tensors(self, image: ImagePass) -> Sequence[Sequence[Tensor]]:
        return image.output_grads

    def result(self) -> Tensor:
        return super().result() / self.images

    def asked(self, seen: Seen) -> Sequence[bool]:
        return seen.outputs


def _even(total: int, count: int) -> Tensor:
    """So many positions below `total`, in order, as evenly as can be; with repetitions if more."""
    return torch.arange(count) * total // max(1, count)


def _spread(total: int, generator: torch.Generator) -> Tensor:
    """Up to SAMPLES positions below `total`, in order: a random one in each of equal parts."""
    count = min(SAMPLES, total)
    edges = torch.arange(count + 1) * total // max(1, count)
    places = torch.rand(count, generator=generator, dtype=torch.float64) * edges.diff()
    return edges[:-1] + places.long()


class OutputVariance(Observer):
    """`act_var` is the variance of the output over all images and elements."""

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.moments = subject.zeros(3, len(subject.layers))

    def see(self, image: ImagePass) -> None:
        for index, calls in enumerate(image.outputs):
            for call in calls:
                values = call.double()
                count = values.new_tensor(values.numel())
                self.moments[:, index] += torch.stack([count, values.sum(), values.square().sum()])

    def result(self) -> Tensor:
        count, total, squares = self.moments
        count = count.clamp(min=1)
        return torch.clamp(squares / count - (total / count).square(), min=0)


class ChannelFisher(Observer):
    """`fisher_act` is the mean over images of the sum over channels of
    (sum over positions of output * gradient)^2."""

    needs_output_grads = True

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.sums = subject.zeros(len(subject.layers))

    def see(self, image: ImagePass) -> None:
        for layer in self.subject.layers:
            pairs = zip(image.outputs[layer.index], image.output_grads[layer.index], strict=True)
            channels = sum(_by_channel(layer, (output * grad).double()) for output, grad in pairs)
            self.sums[layer.index] += torch.as_tensor(channels).square().sum()

    def result(self) -> Tensor:
        return self.sums / self.images

    def asked(self, seen: Seen) -> Sequence[bool]:
        return seen.outputs


def _by_channel(layer: Layer, values: Tensor) -> Tensor:
    """Sums over everything but the channels: a linear layer's last axis, other layers' second."""
    axis = values.ndim - 1 if layer.type == "Linear" else values.ndim - layer.weight.ndim + 1
    return values.movedim(axis, 0).reshape(values.shape[axis], -1).sum(1)
