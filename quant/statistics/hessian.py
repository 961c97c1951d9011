"""The Hessian of the mean loss: its diagonal, the traces and the top eigenvalues of the layers' blocks.

Every estimate is made of Hessian-vector products, summed over the images in small batches.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from emqlang.grammar.diagnostics import error
from emqlang.quant.networks.tracing import plain_kernels
from emqlang.quant.statistics.image_pass import gradients
from emqlang.quant.statistics.subject import Subject
from emqlang.quant.statistics.table import Measured

HELD = 1 << 26  # output elements of layers whose graph is held at once
STEPS, TOLERANCE = 60, 1e-2  # of Lanczos' method, and the relative residual at which it ends

Slopes = Sequence[Tensor]


def measure_diagonal(subject: Subject, names: frozenset[str]) -> dict[str, Measured]:
    """`hess` and `hess_trace` by Hutchinson's method: v * (H v) for Rademacher vectors v over all weights at once.

    The standard error of a trace is that of the mean over the probes, of which there must be two.
    """
    samples = subject.settings.hessian_samples
    if samples < 2:
        raise error("E403", "a standard error takes 2 Hessian samples or more")
    diagonal = [torch.zeros_like(weight, dtype=torch.float32) for weight in subject.weights]
    traces = torch.zeros(samples, len(subject.layers), dtype=torch.float64, device=subject.device)
    batches = _batches(subject)
    for number, slopes in enumerate(_graphs(subject, batches)):
        generator = subject.generator(
            "probes"
        )  # the same probes for every batch, so that each sees the whole Hessian
        for probe in range(samples):
            vectors = [_rademacher(weight, generator) for weight in subject.weights]
            for index, (vector, product) in enumerate(
                zip(vectors, _derivative(slopes, vectors, subject.weights), strict=True)
            ):
                part = vector * product
                traces[probe, index] += part.sum(dtype=torch.float64)
                diagonal[index].add_(part, alpha=1 / samples)
        subject.progress("hess", number + 1, len(batches))
    deviation = traces.std(0) / math.sqrt(samples)
    found = {
        "hess": Measured(subject.flat(diagonal)),
        "hess_trace": Measured(traces.mean(0), deviation),
    }
    return {name: found[name] for name in names}


def measure_top(subject: Subject, names: frozenset[str]) -> dict[str, Measured]:
    """`hess_eig`: the eigenvalue of largest magnitude of each layer's own block, by Lanczos' method."""
    generator = subject.generator("start")
    runs = [
        _Lanczos(torch.randn(weight.shape, generator=generator).to(weight))
        for weight in subject.weights
    ]
    for step in range(STEPS):
        active = [index for index, run in enumerate(runs) if not run.done]
        if not active:
            break
        vectors = {index: runs[index].vector for index in active}
        for index, product in _blocks(subject, vectors).items():
            runs[index].extend(product)
        subject.progress("hess_eig", step + 1, STEPS)
    return {"hess_eig": Measured(subject.numbers([run.value for run in runs]))}


class _Lanczos:
    """The tridiagonal matrix of one symmetric operator in the Krylov space of a random start, grown step by step.

    value  its eigenvalue of largest magnitude; some eigenvalue of the operator is as near as TOLERANCE of it once `done`
    """

    def __init__(self, start: Tensor) -> None:
        self.vector, self.before = _unit(start), torch.zeros_like(start)
        self.diagonal: list[float] = []
        self.beside: list[float] = []
        self.value, self.done = 0.0, False

    def extend(self, product: Tensor) -> None:
        """One step; `product` is the operator times `vector`."""
        share = float((self.vector * product).sum(dtype=torch.float64))
        rest = (
            product - share * self.vector - (self.beside[-1] if self.beside else 0.0) * self.before
        )
        self.diagonal.append(share)
        norm = float(rest.norm())
        values, vectors = torch.linalg.eigh(self._matrix())
        top = int(values.abs().argmax())
        self.value = float(values[top])
        self.done = norm * abs(float(vectors[-1, top])) <= TOLERANCE * abs(self.value)
        self.beside.append(norm)
        self.before, self.vector = self.vector, _unit(rest)

    def _matrix(self) -> Tensor:
        beside = torch.tensor(self.beside, dtype=torch.float64)
        return (
            torch.diag(torch.tensor(self.diagonal, dtype=torch.float64))
            + torch.diag(beside, 1)
            + torch.diag(beside, -1)
        )


def _batches(subject: Subject) -> Sequence[tuple[Tensor, Tensor]]:
    return subject.batches(min(64, max(1, HELD // sum(subject.network.collection.act_numel))))


def _graphs(subject: Subject, batches: Sequence[tuple[Tensor, Tensor]]) -> Iterator[list[Tensor]]:
    """For each batch of images, its part of the mean loss's gradient, with the graph that leads to it."""
    for images, labels in batches:
        with torch.enable_grad(), plain_kernels():
            loss = subject.loss(subject.logits(images), images, labels) / len(subject.images)
            yield gradients(loss, subject.weights, create_graph=True)


def _blocks(subject: Subject, vectors: Mapping[int, Tensor]) -> dict[int, Tensor]:
    """H_ll v_l for some layers l, each with its own block alone."""
    sums = {index: torch.zeros_like(vector) for index, vector in vectors.items()}
    for slopes in _graphs(subject, _batches(subject)):
        for index, vector in vectors.items():
            (product,) = _derivative([slopes[index]], [vector], [subject.weights[index]])
            sums[index] += product
    return sums


def _derivative(slopes: Slopes, vectors: Slopes, weights: Sequence[Tensor]) -> list[Tensor]:
    """The gradient of sum(slopes * vectors); zeros where it does not depend on a weight."""
    pairs = [
        (slope, vector)
        for slope, vector in zip(slopes, vectors, strict=True)
        if slope.requires_grad
    ]
    if not pairs:
        return [torch.zeros_like(weight) for weight in weights]
    outputs, along = zip(*pairs, strict=True)
    found = torch.autograd.grad(outputs, list(weights), along, retain_graph=True, allow_unused=True)
    return [
        torch.zeros_like(weight) if slope is None else slope
        for weight, slope in zip(weights, found, strict=True)
    ]


def _rademacher(weight: Tensor, generator: torch.Generator) -> Tensor:
    return (
        torch.randint(0, 2, weight.shape, generator=generator, dtype=torch.int8)
        .to(weight.device, weight.dtype)
        .mul_(2)
        .sub_(1)
    )


def _unit(vector: Tensor) -> Tensor:
    norm = vector.norm()
    return vector / torch.where(norm > 0, norm, 1.0)
