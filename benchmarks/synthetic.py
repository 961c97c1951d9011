"""Random statistics with ResNet-18's shapes, seeded, spread like a trained network's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
import torch

from emqlang.grammar.inputs import INPUTS, Axis, Kind


def _resnet18() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"conv1": (64, 3, 7, 7)}
    inputs = 64
    for stage, width in enumerate((64, 128, 256, 512), 1):
        for block in range(2):
            name = f"layer{stage}.{block}"
            shapes[f"{name}.conv1"] = (width, inputs, 3, 3)
            shapes[f"{name}.conv2"] = (width, width, 3, 3)
            if width != inputs:
                shapes[f"{name}.downsample.0"] = (width, inputs, 1, 1)
            inputs = width
    return shapes | {"fc": (1000, 512)}


RESNET18 = _resnet18()


@dataclass(frozen=True, slots=True)
class Bits:
    weight_bits: int
    act_bits: int | None = None


@dataclass(frozen=True)
class Synthetic:
    """An `emqlang.compiler.statistics.Statistics` made of random numbers."""

    shapes: Mapping[str, tuple[int, ...]]
    choices: Sequence[Bits]
    arrays: Mapping[str, torch.Tensor]
    offsets: Mapping[str, Sequence[int]]
    fingerprint: str = "synthetic"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def layers(self) -> Sequence[str]:
        return tuple(self.shapes)

    @property
    def rows(self) -> Sequence[int]:
        return [shape[0] for shape in self.shapes.values()]

    @property
    def totals(self) -> Mapping[str, Sequence[int]]:
        return {kind: np.diff(offsets).tolist() for kind, offsets in self.offsets.items()}

    def array(self, name: str) -> torch.Tensor:
        return self.arrays[name]


def synthetic(
    names: Sequence[str],
    *,
    seed: int = 0,
    bits: Sequence[int] = (2, 3, 4),
    samples: int = 65_536,
    shapes: Mapping[str, tuple[int, ...]] = RESNET18,
    wide: bool = True,
) -> Synthetic:
    """The named statistics; `wide` has grad_synflow in float64, as it is collected."""
    rng = np.random.default_rng(seed)
    offsets: dict[str, list[int]] = {
        Kind.WEIGHT: [0, *np.cumsum([prod(shape) for shape in shapes.values()]).tolist()],
        Kind.ACTIVATION: [samples * i for i in range(len(shapes) + 1)],
        Kind.LAYER: list(range(len(shapes) + 1)),
    }
    arrays = {}
    for name in names:
        row = INPUTS[name]
        size = (
            (len(bits),)
            if row.axis in (Axis.WEIGHT_BITS, Axis.CHOICE)
            else (1,)
            if row.axis is Axis.ACT_BITS
            else ()
        )
        double = row.kind is Kind.LAYER or (wide and name == "grad_synflow")
        values = _draw(name, rng, (*size, offsets[row.kind][-1]), shapes, bits).astype(
            np.float64 if double else np.float32
        )
        arrays[name] = torch.from_numpy(values)
    return Synthetic(shapes, tuple(Bits(b) for b in bits), arrays, offsets)


_SCALES = {
    "w": 0.03,
    "grad": 1e-4,
    "grad_synflow": 1e3,
    "hess": 1e-3,
    "fisher": 1e-7,
    "qerr": 5e-3,
    "act": 0.5,
    "grad_act": 1e-5,
}


def _draw(
    name: str,
    rng: np.random.Generator,
    size: tuple[int, ...],
    shapes: Mapping[str, tuple[int, ...]],
    bits: Sequence[int],
) -> np.ndarray[tuple[int, ...], np.dtype[np.floating]]:
    """Normal values; their squares for what cannot be negative; what is exact is exact."""
    exact = {
        "numel": [prod(shape) for shape in shapes.values()],
        "fan_in": [prod(shape[1:]) for shape in shapes.values()],
        "channels_in": [shape[1] for shape in shapes.values()],
        "channels_out": [shape[0] for shape in shapes.values()],
        "depth": list(range(len(shapes))),
        "bits": [[b] * len(shapes) for b in bits],
        "act_bits": [[8] * len(shapes)],
    }
    if name in exact:
        return np.array(exact[name], np.float64)
    values = rng.standard_normal(size, np.float32)
    if INPUTS[name].sign & 1 == 0:
        values = values * values + np.float32(
            1e-9
        )  # no exact zeros: the baselines do not protect log
    return values * np.float32(_SCALES.get(name, 1.0))
