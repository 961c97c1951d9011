"""What the layers put out, and the gradients of the loss there."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from emqlang.grammar.diagnostics import error
from emqlang.quant.networks.layers import Layer
from emqlang.quant.statistics.image_pass import Observer, Visit
from emqlang.quant.statistics.subject import Subject

SAMPLES = 65_536  # elements kept of a layer's output


def sample_sizes(totals: Sequence[int]) -> list[int]:
    """How many elements are kept of each layer's."""
    return [min(SAMPLES, total) for total in totals]


class Sampled(Observer):
    """`act`: elements of the layers' outputs, image by image and call by call, at seeded positions."""

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.sizes = subject.network.collection.act_numel
        generator = subject.generator("positions")
        self.positions = [_spread(self.images * size, generator) for size in self.sizes]
        self.parts: list[list[Tensor]] = [[] for _ in self.sizes]

    def see(self, visit: Visit) -> None:
        for layer, calls in zip(self.subject.layers, self._read(visit), strict=True):
            values = torch.cat([call.flatten() for call in calls])
            size = self.sizes[layer.index]
            if len(values) != size:
                message = f"layer '{layer.name}' puts out {len(values):,} elements for this image and {size:,} for the example"
                raise error("E308", message)
            positions = self.positions[layer.index]
            first, last = torch.searchsorted(
                positions, torch.tensor([visit.index * size, (visit.index + 1) * size])
            ).tolist()
            chosen = positions[first:last] - visit.index * size
            self.parts[layer.index].append(values[chosen.to(values.device)].float())

    def _read(self, visit: Visit) -> Sequence[Sequence[Tensor]]:
        return visit.outputs

    def result(self) -> Tensor:
        return torch.cat([part for parts in self.parts for part in parts])


class SampledSlopes(Sampled):
    """`grad_act`: gradients of the mean loss there, at the same positions."""

    reads_output_slopes = True

    def _read(self, visit: Visit) -> Sequence[Sequence[Tensor]]:
        return visit.output_slopes

    def result(self) -> Tensor:
        return super().result() / self.images


def _spread(total: int, generator: torch.Generator) -> Tensor:
    """Up to SAMPLES positions below `total`, in order: one, at random, in each of as many equal parts."""
    count = min(SAMPLES, total)
    edges = torch.arange(count + 1) * total // max(1, count)
    places = torch.rand(count, generator=generator, dtype=torch.float64) * edges.diff()
    return edges[:-1] + places.long()


class Variance(Observer):
    """`act_var`: the variance of the output over all images and elements."""

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.moments = torch.zeros(
            3, len(subject.layers), dtype=torch.float64, device=subject.device
        )

    def see(self, visit: Visit) -> None:
        for index, calls in enumerate(visit.outputs):
            for call in calls:
                values = call.double()
                self.moments[:, index] += torch.stack(
                    [values.new_tensor(values.numel()), values.sum(), values.square().sum()]
                )

    def result(self) -> Tensor:
        count, total, squares = self.moments
        return torch.clamp(squares / count - (total / count).square(), min=0)


class ChannelFisher(Observer):
    """`fisher_act`: the mean over images of the sum over channels of (sum over space of output * gradient)^2."""

    reads_output_slopes = True

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.sums = torch.zeros(len(subject.layers), dtype=torch.float64, device=subject.device)

    def see(self, visit: Visit) -> None:
        for layer in self.subject.layers:
            pairs = zip(visit.outputs[layer.index], visit.output_slopes[layer.index], strict=True)
            channels = sum(_by_channel(layer, (output * slope).double()) for output, slope in pairs)
            self.sums[layer.index] += torch.as_tensor(channels).square().sum()

    def result(self) -> Tensor:
        return self.sums / self.images


def _by_channel(layer: Layer, values: Tensor) -> Tensor:
    """Sums over everything but the output's channels, which are the last axis of a linear layer's and the second of others'."""
    axis = values.ndim - 1 if layer.type == "Linear" else values.ndim - layer.weight.ndim + 1
    return values.movedim(axis, 0).reshape(values.shape[axis], -1).sum(1)
