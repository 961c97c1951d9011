"""Eq. 5 on ResNet-18's 11.2 M weights, float32: emqlang, torch layer by layer, and numexpr.

    python benchmarks/eq5.py

Every side computes all layers' values of `bits * mean(log(abs(grad_synflow)) *
sqrt(mean(abs(w))))`; torch and numexpr count at their best of 1 and 2 threads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import harness
import numpy as np
import torch
from harness import Benchmark, Case, Side
from machine import cores, threads
from synthetic import Synthetic, synthetic

from emqlang.compiler.plan import compile
from emqlang.compiler.run import run
from emqlang.grammar.canonical.form import canonical
from emqlang.grammar.expr import apply, elaborate, statistic

Array = np.ndarray[tuple[int, ...], np.dtype[np.floating]]


def eq5(statistics: Synthetic) -> Array:
    """The program as text would give it; planning is part of the time."""
    g, w = statistic("grad_synflow"), statistic("w")
    q = apply(
        "mean",
        apply("mul", apply("log", apply("abs", g)), apply("sqrt", apply("mean", apply("abs", w)))),
    )
    return run(compile([canonical(elaborate(q))]), statistics, threads=cores())[0]


def torch_by_layer(statistics: Synthetic) -> Array:
    offsets = statistics.offsets["weight"]
    values = []
    for start, stop in pairwise(offsets):
        g, w = statistics.array("grad_synflow")[start:stop], statistics.array("w")[start:stop]
        values.append(torch.mean(torch.log(torch.abs(g)) * torch.sqrt(torch.mean(torch.abs(w)))))
    return statistics.array("bits").numpy() * torch.stack(values).numpy()


def read_once(statistics: Synthetic) -> int:
    """Every byte of both buffers, and next to no arithmetic: the floor."""
    buffers = (statistics.array(name).numpy().view(np.uint32) for name in ("w", "grad_synflow"))
    return int(np.bitwise_or.reduce([np.bitwise_or.reduce(buffer) for buffer in buffers]))


def _sides(
    name: str, work: Callable[[Synthetic], Array], limit: Callable[[int], object], data: Synthetic
) -> list[Side]:
    """A rival on each number of threads."""
    return [
        Side(f"{name}, {threads(count)}", partial(work, data), partial(limit, count))
        for count in (1, 2)
    ]


def against_torch() -> Case:
    return _case(lambda data: _sides("torch", torch_by_layer, torch.set_num_threads, data))


def against_numexpr() -> Case:
    import numexpr

    def by_layer(statistics: Synthetic) -> Array:
        gs, ws = statistics.array("grad_synflow").numpy(), statistics.array("w").numpy()
        values = []
        for start, stop in pairwise(statistics.offsets["weight"]):
            n = stop - start
            root = np.sqrt(numexpr.evaluate("sum(abs(w))", {"w": ws[start:stop]}) / n)
            g = {"g": gs[start:stop], "s": np.float32(root)}
            values.append(numexpr.evaluate("sum(log(abs(g)) * s)", g) / n)
        return statistics.array("bits").numpy() * np.array(values)

    return _case(lambda data: _sides("numexpr", by_layer, numexpr.set_num_threads, data))


def _case(rivals: Callable[[Synthetic], list[Side]]) -> Case:
    data = synthetic(("w", "grad_synflow", "bits"), wide=False)
    return Case(
        Side("emqlang", partial(eq5, data)),
        rivals(data),
        Side("reading both once", partial(read_once, data)),
        same=partial(np.testing.assert_allclose, rtol=1e-3),
    )


BENCHMARKS = (
    Benchmark("Eq. 5 against torch", against_torch, "at least", 2),
    Benchmark(
        "Eq. 5 against numexpr at its best", against_numexpr, "at least", 5, needs=("numexpr",)
    ),
)

if __name__ == "__main__":
    harness.main(BENCHMARKS)
