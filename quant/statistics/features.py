"""`orm`: how much each layer's features have in common with the other layers'."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from emqlang.quant.activations import readers
from emqlang.quant.record import plain_kernels, tensors
from emqlang.quant.statistics.subject import Subject
from emqlang.quant.statistics.table import Measured


def measure(subject: Subject, names: frozenset[str]) -> dict[str, Measured]:
    """The sum over the other layers of the linear CKA between the features; all images go through in one batch."""
    grams = _grams(subject)
    subject.progress("orm", 1, 1)
    return {"orm": Measured(alignment(grams).fill_diagonal_(0).sum(1))}


def alignment(grams: Tensor) -> Tensor:
    """Linear CKA of every pair of layers, from centred Gram matrices (L, N, N); 0 with features that do not vary.

    With K = X X^T that is <K, K'> / (|K| |K'|), which is |X'^T X|^2 / (|X^T X| |X'^T X'|) of Kornblith et al., arXiv 1905.00414.
    """
    flat = grams.flatten(1)
    norms = flat.norm(dim=1, keepdim=True)
    unit = flat / torch.where(norms > 0, norms, 1.0)
    return (unit @ unit.T).clamp(0, 1)


def _grams(subject: Subject) -> Tensor:
    """X X^T for the centred features X (N, F) of every layer, the calls of a layer that runs several times side by side."""
    count = len(subject.images)
    grams = torch.zeros(len(subject.layers), count, count, dtype=torch.float64, device=subject.device)
    modules = readers(subject.module, subject.layers)
    with ExitStack() as stack:
        for layer in subject.layers:

            def hook(module: nn.Module, args: Any, output: Any, gram: Tensor = grams[layer.index]) -> None:
                features = tensors(output)[0].reshape(count, -1).float()
                centred = features - features.mean(0)
                gram += (centred @ centred.T).double()

            for part in modules[layer.name]:
                stack.callback(part.register_forward_hook(hook).remove)
        with torch.no_grad(), plain_kernels():
            subject.logits(subject.images)
    return grams
