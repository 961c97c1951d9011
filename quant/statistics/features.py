"""`orm`: how much each layer's features have in common with the other layers'."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import torch
from torch import Tensor

from emqlang.quant.networks.hooks import listening
from emqlang.quant.networks.layers import readers
from emqlang.quant.networks.nested import tensors
from emqlang.quant.networks.tracing import plain_kernels
from emqlang.quant.statistics.image_pass import no
from emqlang.quant.statistics.subject import Shown, Subject
from emqlang.quant.statistics.table import Measured


def measure(subject: Subject, names: frozenset[str]) -> dict[str, Measured]:
    """The sum over the other layers of the linear CKA between the features."""
    features = _Features(subject)
    for shown in subject.batches(features.count):
        features.show(shown)
        subject.progress("orm", shown.stop, features.count)
    features.join()
    values = alignment(features.grams).fill_diagonal_(0).sum(1)
    return {"orm": Measured(values, unmeasured=features.unmeasured())}


def alignment(grams: Tensor) -> Tensor:
    """Linear CKA of every pair of layers, from centred Gram matrices (L, N, N).

    It is 0 with features that do not vary.
    With K = X X^T that is <K, K'> / (|K| |K'|), which equals |X'^T X|^2 / (|X^T X| |X'^T X'|).
    Source: Kornblith et al., arXiv 1905.00414.
    """
    flat = grams.flatten(1)
    norms = flat.norm(dim=1, keepdim=True)
    unit = flat / torch.where(norms > 0, norms, 1.0)
    return (unit @ unit.T).clamp(0, 1)


class _Features:
    """X X^T for the centred features X (N, F) of every layer, from as few batches as can be.

    The features of a layer that runs several times are those of its calls, side by side. A layer
    that puts out more for one image than for another has none: it is `uneven`.
    """

    def __init__(self, subject: Subject) -> None:
        layers = len(subject.layers)
        self.subject, self.count = subject, len(subject.images)
        self.grams = subject.zeros(layers, self.count, self.count)
        self.parts: dict[tuple[int, int], list[Tensor]] = defaultdict(list)  # by layer and call
        self.ran: set[int] = set()
        self.uneven: set[int] = set()

    def show(self, shown: Shown) -> None:
        """The features of one batch."""
        alone, calls = self._shapes(shown), Counter[int]()
        indices = {layer.name: layer.index for layer in self.subject.layers}

        def add(name: str, output: Any) -> None:
            index, values = indices[name], tensors(output)[0]
            call = calls[index]
            calls[index] += 1
            if values.numel():
                self.ran.add(index)
            if call >= len(alone[index]):
                self.uneven.add(index)
                return
            features = _by_image(values, alone[index][call], shown.rows)
            if features is None:
                self.uneven.add(index)
            elif shown.rows == self.count:
                self._add(index, features)
            else:
                self.parts[index, call].append(features)

        modules = readers(self.subject.module, self.subject.layers)
        with torch.no_grad(), plain_kernels(), listening(modules, on_output=add):
            self.subject.answer(shown.batch)
        self.uneven |= {index for index, shapes in alone.items() if calls[index] != len(shapes)}

    def join(self) -> None:
        """Put the features of several batches together, where they fit."""
        for (index, _), parts in self.parts.items():
            widths = {part.shape[1] for part in parts}
            if len(widths) == 1 and sum(map(len, parts)) == self.count:
                self._add(index, torch.cat(parts))
            else:
                self.uneven.add(index)
        for index in self.uneven:
            self.grams[index] = 0

    def unmeasured(self) -> dict[int, str]:
        """Layers without features, and why."""
        reason = "it does not put out as much for every image"
        idle = set(range(len(self.subject.layers))) - self.ran
        found = dict.fromkeys(self.uneven, reason)
        return found | dict.fromkeys(idle, no("data", self.count))

    def _add(self, index: int, features: Tensor) -> None:
        centred = features.float() - features[:1].float()  # those that do not vary are exact zeros
        centred -= centred.mean(0)
        self.grams[index] += (centred @ centred.T).double()

    def _shapes(self, shown: Shown) -> dict[int, list[torch.Size]]:
        """The shapes of what the calls of each layer put out for the first image of a batch."""
        with torch.no_grad(), plain_kernels(), self.subject.outputs() as outputs:
            self.subject.answer(self.subject.show(shown.start).batch)
        return {index: [call.shape for call in calls] for index, calls in outputs.items()}


def _by_image(output: Tensor, alone: torch.Size, count: int) -> Tensor | None:
    """(N, F); the images' axis, which need not be the first, is `count` times as long as alone.

    None where there is no such axis.
    """
    pairs = enumerate(zip(output.shape, alone, strict=False))
    axis = next((axis for axis, (many, one) in pairs if many == count * one), 0)
    if not output.ndim or output.shape[axis] % count or not output.numel():
        return None
    return output.movedim(axis, 0).reshape(count, -1)
