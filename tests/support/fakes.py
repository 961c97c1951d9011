"""Statistics made of random numbers, and programs from text, for the compiler's tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from emqlang.compiler import plan
from emqlang.grammar.canonical.form import canonical
from emqlang.grammar.expr import Expr, elaborate
from emqlang.grammar.inputs import INPUTS, Axis, Kind
from emqlang.grammar.program import parse

SHAPES = {"stem": (8, 3, 3, 3), "block": (16, 25), "head": (16, 100)}


@dataclass(frozen=True, slots=True)
class Bits:
    weight_bits: int
    act_bits: int | None = None

    def __str__(self) -> str:
        return f"W{self.weight_bits}" + ("" if self.act_bits is None else f"A{self.act_bits}")


MENU = (Bits(2, 4), Bits(2, 8), Bits(4, 8))


@dataclass(frozen=True)
class Fake:
    """The statistics of one network that never was."""

    arrays: Mapping[str, torch.Tensor]
    shapes: Mapping[str, tuple[int, ...]]
    offsets: Mapping[str, Sequence[int]]
    totals: Mapping[str, Sequence[int]]
    choices: Sequence[Bits] = MENU
    fingerprint: str = "fake"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def layers(self) -> Sequence[str]:
        return tuple(self.shapes)

    @property
    def rows(self) -> Sequence[int]:
        return [shape[0] for shape in self.shapes.values()]

    def array(self, name: str) -> torch.Tensor:
        return self.arrays[name]

    def with_arrays(self, **arrays: NDArray[Any]) -> Fake:
        """The same network with some statistics given."""
        return replace(
            self,
            arrays={
                **self.arrays,
                **{name: torch.from_numpy(array) for name, array in arrays.items()},
            },
        )

    def in_float64(self) -> Fake:
        return replace(self, arrays={name: array.double() for name, array in self.arrays.items()})


def fake(
    seed: int = 0,
    shapes: Mapping[str, tuple[int, ...]] = SHAPES,
    choices: Sequence[Bits] = MENU,
    sampled: int = 50,
    images: int = 12,
) -> Fake:
    """Every statistic, in the types of collection; activations sample a third of the elements."""
    rng = np.random.default_rng(seed)
    numel = [prod(shape) for shape in shapes.values()]
    offsets = {
        Kind.WEIGHT: [0, *np.cumsum(numel).tolist()],
        Kind.ACTIVATION: [sampled * i for i in range(len(shapes) + 1)],
        Kind.LAYER: list(range(len(shapes) + 1)),
        Kind.IMAGE: [images * i for i in range(len(shapes) + 1)],
    }
    pairs = [(choice.weight_bits, choice.act_bits) for choice in choices]
    axes: dict[Axis, list[Any]] = {
        Axis.WEIGHT_BITS: list(dict.fromkeys(pair[0] for pair in pairs)),
        Axis.ACT_BITS: list(dict.fromkeys(pair[1] for pair in pairs)),
        Axis.CHOICE: pairs,
    }
    arrays = {}
    for row in INPUTS.values():
        size = (len(axes[row.axis]),) if row.axis is not Axis.NONE else ()
        values = rng.standard_normal((*size, offsets[row.kind][-1])) * 0.5
        values = np.abs(values) + 1e-3 if row.sign & 1 == 0 else values
        double = row.kind is Kind.LAYER or row.name == "grad_synflow"
        arrays[row.name] = values.astype(np.float64 if double else np.float32)
    arrays["numel"] = np.array(numel, np.float64)
    arrays["channels_out"] = np.array([shape[0] for shape in shapes.values()], np.float64)
    arrays["bits"] = np.array([[b] * len(numel) for b in axes[Axis.WEIGHT_BITS]], np.float64)
    arrays["act_bits"] = np.array([[b or 8] * len(numel) for b in axes[Axis.ACT_BITS]], np.float64)
    totals = {
        Kind.WEIGHT: numel,
        Kind.ACTIVATION: [3 * sampled] * len(shapes),
        Kind.IMAGE: [images] * len(shapes),
    }
    return Fake(
        {name: torch.from_numpy(a) for name, a in arrays.items()}, shapes, offsets, totals, choices
    )


def compile(programs: Iterable[Expr]) -> plan.Plan:
    """Plans programs that are spelled in any way."""
    return plan.compile([canonical(program) for program in programs])


def program(text: str) -> Expr:
    """The elaborated program of a text."""
    return elaborate(parse(text).expr)
