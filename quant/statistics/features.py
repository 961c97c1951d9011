"""`orm`: how much each layer's features have in common with the other layers'."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from emqlang.quant.networks.hooks import listening
from emqlang.quant.networks.layers import readers
from emqlang.quant.networks.nested import tensors
from emqlang.quant.networks.tracing import plain_kernels
from emqlang.quant.statistics.subject import Subject
from emqlang.quant.statistics.table import Measured


def measure(subject: Subject, names: frozenset[str]) -> dict[str, Measured]:
    """The sum over the other layers of the linear CKA between the features, in one batch."""
    grams = _grams(subject)
    subject.progress("orm", 1, 1)
    return {"orm": Measured(alignment(grams).fill_diagonal_(0).sum(1))}


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


def _grams(subject: Subject) -> Tensor:
    """X X^T for the centred features X (N, F) of every layer.

    The features of a layer that runs several times are those of its calls, side by side.
    """
    count = len(subject.images)
    shapes = _shapes(subject)
    grams = subject.zeros(len(subject.layers), count, count)
    indices = {layer.name: layer.index for layer in subject.layers}

    def add(name: str, output: Any) -> None:
        index = indices[name]
        features = _by_image(tensors(output)[0], shapes[index].pop(0), count).float()
        centred = features - features[:1]  # features that do not vary become exact zeros
        centred -= centred.mean(0)
        grams[index] += (centred @ centred.T).double()

    modules = readers(subject.module, subject.layers)
    with torch.no_grad(), plain_kernels(), listening(modules, on_output=add):
        subject.logits(subject.images)
    return grams


def _shapes(subject: Subject) -> dict[int, list[torch.Size]]:
    """The shapes of what the calls of each layer put out for one image."""
    with torch.no_grad(), plain_kernels(), subject.outputs() as outputs:
        subject.logits(subject.images[:1])
    return {index: [call.shape for call in calls] for index, calls in outputs.items()}


def _by_image(output: Tensor, alone: torch.Size, count: int) -> Tensor:
    """(N, F); the images' axis, which need not be the first, is `count` times as long as alone."""
    pairs = enumerate(zip(output.shape, alone, strict=False))
    axis = next((axis for axis, (many, one) in pairs if many == count * one), 0)
    return output.movedim(axis, 0).reshape(count, -1)
