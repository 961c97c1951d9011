"""The Hessian of the mean loss: its diagonal, and traces and top eigenvalues of the layers' blocks.

Every estimate is made of Hessian-vector products, summed over the images in small batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from emqlang.grammar.diagnostics import error
from emqlang.quant.networks.batches import backward
from emqlang.quant.networks.tracing import plain_kernels
from emqlang.quant.statistics.image_pass import HasGradient, gradients, no
from emqlang.quant.statistics.subject import Shown, Subject
from emqlang.quant.statistics.table import Measured

HELD: Final = 1 << 26  # output elements of layers whose graph is held at once
STEPS: Final = 60  # of Lanczos' method
TOLERANCE: Final = 1e-2  # the relative residual at which it ends


def measure_diagonal(subject: Subject, names: frozenset[str]) -> dict[str, Measured]:
    """`hess` and `hess_trace` by Hutchinson's method: v * (H v) for Rademacher vectors v.

    The vectors span all weights at once. The standard error of a trace is that of the mean over the
    probes, of which there must be two.
    """
    samples = subject.options.hessian_samples
    if samples < 2:
        raise error("E403", "a standard error takes 2 Hessian samples or more")
    diagonal = [torch.zeros_like(weight, dtype=torch.float32) for weight in subject.weights]
    traces = subject.zeros(samples, len(subject.layers))
    reached, done = [False] * len(subject.layers), 0
    for shown, grads in _gradient_graphs(subject):
        _note(reached, grads)
        generator = subject.generator("probes")  # the same for every batch: each sees all of it
        for probe in range(samples):
            vectors = [_rademacher(weight, generator) for weight in subject.weights]
            products = _products(grads, vectors, subject.weights)
            for index, (vector, product) in enumerate(zip(vectors, products, strict=True)):
                part = vector * product
                traces[probe, index] += part.sum(dtype=torch.float64)
                diagonal[index].add_(part, alpha=1 / samples)
            done += shown.rows
            subject.progress("hess", done, len(subject.images) * samples)
    estimates = {
        "hess": Measured(subject.flat(diagonal)),
        "hess_trace": Measured(traces.mean(0), traces.std(0) / math.sqrt(samples)),
    }
    unmeasured = _unmeasured(subject, reached)
    return {name: replace(estimates[name], unmeasured=unmeasured) for name in names}


def measure_top(subject: Subject, names: frozenset[str]) -> dict[str, Measured]:
    """`hess_eig`: the eigenvalue of largest magnitude of each layer's block, by Lanczos' method."""
    generator = subject.generator("start")
    starts = [torch.randn(weight.shape, generator=generator) for weight in subject.weights]
    runs = [
        _Lanczos(start.to(weight)) for start, weight in zip(starts, subject.weights, strict=True)
    ]
    reached, work = [False] * len(subject.layers), len(subject.images) * len(runs)
    for step in range(STEPS):
        vectors = {index: run.vector for index, run in enumerate(runs) if not run.converged}
        if not vectors:
            break

        def report(products: int, left: int = len(vectors), before: int = step * work) -> None:
            done = before + work * products // (left * len(subject.images))
            subject.progress("hess_eig", done, STEPS * work)

        for index, product in _blocks(subject, vectors, reached, report).items():
            runs[index].extend(product)
    subject.progress("hess_eig", STEPS * work, STEPS * work)
    values = subject.numbers([run.value for run in runs])
    return {"hess_eig": Measured(values, unmeasured=_unmeasured(subject, reached))}


class _Lanczos:
    """The tridiagonal matrix of a symmetric operator in the Krylov space of a random start.

    It grows step by step. `value` is its eigenvalue of largest magnitude; once `converged`, some
    eigenvalue of the operator is within TOLERANCE of it.
    """

    def __init__(self, start: Tensor) -> None:
        self.vector, self.before = _unit(start), torch.zeros_like(start)
        self.diagonal: list[float] = []
        self.beside: list[float] = []
        self.value, self.converged = 0.0, False

    def extend(self, product: Tensor) -> None:
        """One step; `product` is the operator times `vector`."""
        share = float((self.vector * product).sum(dtype=torch.float64))
        beside = self.beside[-1] if self.beside else 0.0
        rest = product - share * self.vector - beside * self.before
        self.diagonal.append(share)
        norm = float(rest.norm())
        values, vectors = torch.linalg.eigh(self._matrix())
        top = int(values.abs().argmax())
        self.value = float(values[top])
        self.converged = norm * abs(float(vectors[-1, top])) <= TOLERANCE * abs(self.value)
        self.beside.append(norm)
        self.before, self.vector = self.vector, _unit(rest)

    def _matrix(self) -> Tensor:
        diagonal = torch.tensor(self.diagonal, dtype=torch.float64)
        beside = torch.tensor(self.beside, dtype=torch.float64)
        return torch.diag(diagonal) + torch.diag(beside, 1) + torch.diag(beside, -1)


def _gradient_graphs(subject: Subject) -> Iterator[tuple[Shown, list[Tensor | None]]]:
    """Each batch's part of the mean loss's gradient, with the graph that leads to it.

    Raises E304 or E308 where no batch has one.
    """
    graph = HasGradient()
    numel = max(1, sum(subject.network.collection.act_numel))
    for shown in subject.batches(min(64, max(1, HELD // numel))):
        with torch.enable_grad(), plain_kernels():
            answer = subject.answer(shown.batch)
            loss = subject.loss(answer, shown) / len(subject.images)
            graph.note(loss, answer)
            yield shown, gradients(loss, subject.weights, create_graph=True)
    graph.check()


def _note(reached: list[bool], grads: Sequence[Tensor | None]) -> None:
    """Which weights have had a gradient, not all of it 0."""
    for index, grad in enumerate(grads):
        reached[index] = reached[index] or (grad is not None and bool(grad.any()))


def _unmeasured(subject: Subject, reached: Sequence[bool]) -> dict[int, str]:
    reason = no("gradient of the loss", len(subject.images))
    return {index: reason for index, shown in enumerate(reached) if not shown}


def _blocks(
    subject: Subject,
    vectors: Mapping[int, Tensor],
    reached: list[bool],
    report: Callable[[int], None],
) -> dict[int, Tensor]:
    """H_ll v_l for some layers l, each with its own block alone; notes which weights matter.

    report  told how many products of one layer and one image are done
    """
    done = 0
    sums = {index: torch.zeros_like(vector) for index, vector in vectors.items()}
    for shown, grads in _gradient_graphs(subject):
        _note(reached, grads)
        for index, vector in vectors.items():
            (product,) = _products([grads[index]], [vector], [subject.weights[index]])
            sums[index] += product
            done += shown.rows
            report(done)
    return sums


def _products(
    grads: Sequence[Tensor | None], vectors: Sequence[Tensor], weights: Sequence[Tensor]
) -> list[Tensor]:
    """The gradient of sum(grads * vectors); zeros where it does not depend on a weight."""
    pairs = [
        (grad, vector)
        for grad, vector in zip(grads, vectors, strict=True)
        if grad is not None and grad.requires_grad
    ]
    if not pairs:
        return [torch.zeros_like(weight) for weight in weights]
    outputs, along = zip(*pairs, strict=True)
    with backward():
        products = torch.autograd.grad(
            outputs, list(weights), along, retain_graph=True, materialize_grads=True
        )
    return list(products)


def _rademacher(weight: Tensor, generator: torch.Generator) -> Tensor:
    bits = torch.randint(0, 2, weight.shape, generator=generator, dtype=torch.int8)
    return bits.to(weight.device, weight.dtype).mul_(2).sub_(1)


def _unit(vector: Tensor) -> Tensor:
    norm = vector.norm()
    return vector / torch.where(norm > 0, norm, 1.0)
