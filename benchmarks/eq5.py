"""Eq. 5 on ResNet-18's 11.2 M weights, float32: emqlang, torch layer by layer, and numexpr.

    python benchmarks/eq5.py

Every side computes all layers' values of `bits * mean(log(abs(grad_synflow)) *
sqrt(mean(abs(w))))`, rounds of the three alternate, each side's figure is its median over the
rounds, and torch and numexpr count at their best of 1 and 2 threads.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from statistics import median
from time import perf_counter

import numexpr
import numpy as np
import torch
from machine import Company, Memory, cores, describe
from synthetic import Synthetic, synthetic

from emqlang.compiler.plan import compile
from emqlang.compiler.run import run
from emqlang.grammar.canonical.form import canonical
from emqlang.grammar.expr import apply, elaborate, statistic

ROUNDS = 15
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


def numexpr_by_layer(statistics: Synthetic) -> Array:
    offsets = statistics.offsets["weight"]
    gs, ws = statistics.array("grad_synflow").numpy(), statistics.array("w").numpy()
    values = []
    for start, stop in pairwise(offsets):
        n = stop - start
        root = np.sqrt(numexpr.evaluate("sum(abs(w))", {"w": ws[start:stop]}) / n)
        values.append(
            numexpr.evaluate("sum(log(abs(g)) * s)", {"g": gs[start:stop], "s": np.float32(root)})
            / n
        )
    return statistics.array("bits").numpy() * np.array(values)


SIDES: dict[str, tuple[Callable[[Synthetic], Array], Callable[[int], object] | None, int]] = {
    "emqlang": (eq5, None, 0),
    "torch, 1 thread": (torch_by_layer, torch.set_num_threads, 1),
    "torch, 2 threads": (torch_by_layer, torch.set_num_threads, 2),
    "numexpr, 1 thread": (numexpr_by_layer, numexpr.set_num_threads, 1),
    "numexpr, 2 threads": (numexpr_by_layer, numexpr.set_num_threads, 2),
}


def measure(statistics: Synthetic) -> dict[str, float]:
    """Median seconds of each side, its values checked against emqlang's."""
    times: dict[str, list[float]] = {name: [] for name in SIDES}
    expected = eq5(statistics)
    for _ in range(ROUNDS + 1):  # the first warms up
        for name, (side, limit, threads) in SIDES.items():
            if limit:
                limit(threads)
            start = perf_counter()
            values = side(statistics)
            times[name].append(perf_counter() - start)
            np.testing.assert_allclose(values, expected, rtol=1e-3)
    return {name: median(runs[1:]) for name, runs in times.items()}


def main() -> None:
    print(describe())
    company = Company()
    statistics = synthetic(("w", "grad_synflow", "bits"), wide=False)
    memory = Memory()
    medians = measure(statistics)
    for name, seconds in medians.items():
        print(f"{name:20} {1000 * seconds:8.2f} ms")
    read = sum(statistics.array(name).nbytes for name in ("w", "grad_synflow"))
    print(f"emqlang reads its statistics once, at {read / medians['emqlang'] / 1e9:.0f} GB/s")
    for rival in ("torch", "numexpr"):
        best = min(seconds for name, seconds in medians.items() if name.startswith(rival))
        print(f"ratio to {rival} at its best: {best / medians['emqlang']:.1f}x (target 5x)")
    print(f"memory: {memory.grown():.0f} MB above the statistics, all sides together")
    print(company.describe())


if __name__ == "__main__":
    main()
