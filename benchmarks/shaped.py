"""An arena without images: synthetic statistics, rows drawn uniformly, and a known ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from synthetic import RESNET18, Synthetic, synthetic

from emqlang.evolve.arena import Arena, Benchmark
from emqlang.quant.networks.facts import Group
from emqlang.scores.pipeline import tabulate

WEIGHTS = ("w", "grad", "grad_synflow", "hess")
EQ5 = "log(abs(grad_synflow)) * sqrt(mean(abs(w)))"
FREE = ("numel", "channels_out", "bits")  # that canonical forms may read
ROWS, NOISE = 425, 0.5


def groups(statistics: Synthetic) -> list[Group]:
    """A downsample convolution has the choice of its block's second one."""
    names = list(statistics.shapes)
    mains = [i for i, name in enumerate(names) if "downsample" not in name]
    tied = {
        names.index(name.replace("downsample.0", "conv2")): i
        for i, name in enumerate(names)
        if "downsample" in name
    }
    return [Group(names[i], (i, tied[i]) if i in tied else (i,), i) for i in mains]


@lru_cache
def arena(shapes: tuple[tuple[str, tuple[int, ...]], ...], names: tuple[str, ...]) -> Arena:
    """Rows drawn uniformly; their truth is Eq. 5's score with half a deviation of noise."""
    statistics = synthetic((*names, *FREE), shapes=dict(shapes))
    rng = np.random.default_rng(0)
    own = groups(statistics)
    choices = rng.integers(len(statistics.choices), size=(ROWS, len(own)))
    (table,) = tabulate([EQ5], statistics, own)
    clean = table.totals(choices)
    truth = clean + NOISE * clean.std() * rng.standard_normal(ROWS)
    layers = list(statistics.shapes.values())
    return Arena([Benchmark("synthetic", statistics, own, choices, truth, layers)], "synthetic")


@dataclass(frozen=True)
class Shaped:
    """Opens the arena in any process."""

    names: tuple[str, ...] = WEIGHTS
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = tuple(RESNET18.items())

    def open(self) -> Arena:
        return arena(self.shapes, self.names)
