"""A made-up arena: two layers' statistics, rows that a known program ranks perfectly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import torch
from torch import Tensor

from emqlang.evolve.arena import Arena, Benchmark
from emqlang.grammar.inputs import INPUTS, Axis, Kind
from emqlang.grammar.program import parse
from emqlang.quant.bits.menu import Choice

SIZES = (12, 20, 6, 30)  # weights a layer
ROWS = (3, 4, 2, 5)
SHAPES = ((3, 4), (4, 5), (2, 3), (5, 6))
MENU = tuple(map(Choice, (2, 3, 4)))
IMAGES = 5
PLANTED = "-sum(fisher * qerr ** 2)"
JOINT = "-mean(square(total(shift)))"


@dataclass(frozen=True, eq=False)
class Fake:
    """Random statistics of the signs that the input table promises."""

    arrays: dict[str, Tensor]
    offsets: dict[str, tuple[int, ...]]
    totals: dict[str, tuple[int, ...]]
    fingerprint: str
    layers: tuple[str, ...] = tuple("abcd")
    rows: tuple[int, ...] = ROWS
    choices: tuple[Choice, ...] = MENU

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def array(self, name: str) -> Tensor:
        return self.arrays[name]


@dataclass(frozen=True)
class Group:
    name: str
    layers: tuple[int, ...]
    main: int


def statistics(seed: int = 0) -> Fake:
    generator = torch.Generator().manual_seed(seed)
    offsets = tuple(np.cumsum([0, *SIZES]).tolist())
    images = tuple(range(0, IMAGES * len(SIZES) + 1, IMAGES))
    arrays = {}
    for name, row in INPUTS.items():
        count = {Kind.LAYER: len(SIZES), Kind.IMAGE: images[-1]}.get(row.kind, offsets[-1])
        shape = (
            (count,)
            if row.axis is Axis.NONE
            else (3 if row.axis is not Axis.ACT_BITS else 1, count)
        )
        values = torch.randn(*shape, generator=generator, dtype=torch.float64)
        values = values.abs() + 0.1 if row.sign & 1 == 0 else values
        arrays[name] = (
            values if row.kind is Kind.LAYER or name == "grad_synflow" else values.float()
        )
    arrays["bits"] = torch.tensor(
        [[float(c.weight_bits)] * len(SIZES) for c in MENU], dtype=torch.float64
    )
    arrays["qerr"] = arrays["qerr"] * torch.tensor([[4.0], [2.0], [1.0]])
    arrays["numel"] = torch.tensor(SIZES, dtype=torch.float64)
    arrays["channels_out"] = torch.tensor(ROWS, dtype=torch.float64)
    return Fake(
        arrays,
        {"weight": offsets, "activation": offsets, "image": images},
        {"weight": SIZES, "activation": SIZES, "image": (IMAGES,) * len(SIZES)},
        f"fake {seed}",
    )


def arena(planted: str = PLANTED, seed: int = 0, benchmarks: int = 1) -> Arena:
    """Rows are all configurations of four groups; their truth is the planted program's score."""
    groups = [Group(name, (i,), i) for i, name in enumerate("abcd")]
    choices = np.array(list(product(range(3), repeat=4)))
    ranked = []
    for number in range(benchmarks):
        data, rows = statistics(seed + number), np.arange(81.0)
        empty = Benchmark(f"benchmark {number}", data, groups, choices, rows, SHAPES)
        ((truth,),) = Arena([empty], "").score([parse(planted).canonical])
        ranked.append(replace(empty, truth=truth))
    return Arena(ranked, f"made up {planted} {seed} {benchmarks}")


def names(*extra: str) -> Sequence[str]:
    return ("w", "fisher", "qerr", "bits", "numel", *extra)
