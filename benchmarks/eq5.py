"""Eq. 5 on ResNet-18's 11.2 M weights in memory, float32: emqlang, plain torch layer by layer, and numexpr.

    python benchmarks/eq5.py

Every side computes all layers' values of `bits * mean(log(abs(grad_synflow)) * sqrt(mean(abs(w))))`, rounds of the three
alternate, each side's figure is its median over the rounds, and torch and numexpr count at their best of 1 and 2 threads.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from statistics import median
from time import perf_counter

import numexpr
import numpy as np
import torch
from machine import describe
from synthetic import Synthetic, synthetic

from emqlang.compiler import compile
from emqlang.grammar.expr import apply, elaborate, statistic

ROUNDS = 15
Array = np.ndarray[tuple[int, ...], np.dtype[np.floating]]


def eq5() -> Callable[[Synthetic], Array]:
    """The program as text would give it, planned once a call: planning is part of the time."""
    g, w = statistic("grad_synflow"), statistic("w")
    q = apply("mean", apply("mul", apply("log", apply("abs", g)), apply("sqrt", apply("mean", apply("abs", w)))))
    program = elaborate(q)
    return lambda statistics: compile([program]).run(statistics)[0]


def torch_by_layer(statistics: Synthetic) -> Array:
    offsets = statistics.offsets["weight"]
    values = []
    for start, stop in pairwise(offsets):
        g, w = statistics.array("grad_synflow")[start:stop], statistics.array("w")[start:stop]
        values.append(torch.mean(torch.log(torch.abs(g)) * torch.sqrt(torch.mean(torch.abs(w)))))
    return statistics.array("bits").numpy() * torch.stack(values).numpy()


def numexpr_by_layer(statistics: Synthetic) -> Array:
    offsets = statistics.offsets["weight"]
    gs, ws = statistics.array("grad_synflow").numpy(), statistics.array("w").numpy()
    values = []
    for start, stop in pairwise(offsets):
        n = stop - start
        root = np.sqrt(numexpr.evaluate("sum(abs(w))", {"w": ws[start:stop]}) / n)
        values.append(numexpr.evaluate("sum(log(abs(g)) * s)", {"g": gs[start:stop], "s": np.float32(root)}) / n)
    return statistics.array("bits").numpy() * np.array(values)


def main() -> None:
    statistics = synthetic(("w", "grad_synflow", "bits"), wide=False)
    sides: dict[str, tuple[Callable[[Synthetic], Array], Callable[[int], object] | None, int]] = {
        "emqlang": (eq5(), None, 0),
        "torch, 1 thread": (torch_by_layer, torch.set_num_threads, 1),
        "torch, 2 threads": (torch_by_layer, torch.set_num_threads, 2),
        "numexpr, 1 thread": (numexpr_by_layer, numexpr.set_num_threads, 1),
        "numexpr, 2 threads": (numexpr_by_layer, numexpr.set_num_threads, 2),
    }
    times: dict[str, list[float]] = {name: [] for name in sides}
    expected = eq5()(statistics)
    for _ in range(ROUNDS + 1):  # the first warms up
        for name, (side, limit, threads) in sides.items():
            if limit:
                limit(threads)
            start = perf_counter()
            values = side(statistics)
            times[name].append(perf_counter() - start)
            np.testing.assert_allclose(values, expected, rtol=1e-3)
    medians = {name: median(runs[1:]) for name, runs in times.items()}
    print(describe())
    for name, seconds in medians.items():
        print(f"{name:20} {1000 * seconds:8.2f} ms")
    for rival in ("torch", "numexpr"):
        best = min(seconds for name, seconds in medians.items() if name.startswith(rival))
        print(f"ratio to {rival} at its best: {best / medians['emqlang']:.1f}x (target 5x)")


if __name__ == "__main__":
    main()
