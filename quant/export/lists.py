"""Bits, scales and zero points as JSON or CSV, for everything that reads neither of the others.

Of an allocation, which has no network: choices, bits and numbers of weights.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from emqlang.quant.bits.allocation import Allocation
from emqlang.quant.export.subject import Export, Settings, Subject
from emqlang.quant.ptq.grids import ActivationGrid

SCHEMA = "emqlang.bits/1"
COLUMNS: tuple[str, ...] = ("layer", "tensor", "channel", "bits", "scale", "zero_point")
CHOSEN = ("choice", "bits", "numel")  # of an allocation's layer


def write_json(source: Subject | Allocation, path: Path, settings: Settings) -> Export:
    """Layer -> bits, scales and zero points of its weight and its input; null is float."""
    model: dict[str, str] | None = None
    layers: dict[str, Any] = {}
    if isinstance(source, Allocation):
        for name, layer in source.layers.items():
            layers[name] = {field: getattr(layer, field) for field in CHOSEN}
    else:
        network, layers = source.network, _layers(source)
        model = {"name": network.name, "weights_sha256": network.weights_sha256}
    record = {"schema": SCHEMA, "model": model, "layers": layers}
    path.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return Export((f"{len(layers)} layers",))


def write_csv(source: Subject | Allocation, path: Path, settings: Settings) -> Export:
    """A row for every output channel of a weight, and one for an input, whose channel is empty; of
    an allocation, a row for every layer."""
    if isinstance(source, Allocation):
        columns: tuple[str, ...] = ("layer", *CHOSEN)
        rows: list[tuple[Any, ...]] = [
            (n, *(getattr(row, f) for f in CHOSEN)) for n, row in source.layers.items()
        ]
    else:
        columns, rows = COLUMNS, list(_rows(source))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([columns, *rows])
    return Export((f"{len({row[0] for row in rows})} layers, {len(rows):,} rows",))


def _layers(subject: Subject) -> dict[str, Any]:
    inputs = _inputs(subject)
    return {
        layer.name: {
            "type": layer.type,
            "shape": layer.shape,
            "weight": _weight(subject, layer.name),
            "input": _input(inputs.get(layer.name)),
        }
        for layer in subject.network.collection.layers
    }


def _rows(subject: Subject) -> Iterator[tuple[Any, ...]]:
    inputs = _inputs(subject)
    for layer in subject.network.collection.layers:
        if (weight := _weight(subject, layer.name)) is not None:
            pairs = zip(weight["scale"], weight["zero_point"], strict=True)
            for channel, (scale, zero_point) in enumerate(pairs):
                yield layer.name, "weight", channel, weight["bits"], scale, zero_point
        if (read := inputs.get(layer.name)) is not None:
            yield layer.name, "input", "", read.bits, read.scale, read.zero_point


def _inputs(subject: Subject) -> dict[str, ActivationGrid]:
    """Layer -> the grid of its input."""
    return {name: grid for site, grid in subject.quantized.inputs for name in site.layers}


def _weight(subject: Subject, name: str) -> dict[str, Any] | None:
    weight = subject.quantized.weights.get(name)
    if weight is None:
        return None
    grid = weight.grid
    return {
        "bits": grid.bits,
        "scale": grid.scale.tolist(),
        "zero_point": grid.zero_point.tolist(),
    }


def _input(grid: ActivationGrid | None) -> dict[str, Any] | None:
    if grid is None:
        return None
    return {"bits": grid.bits, "scale": grid.scale, "zero_point": grid.zero_point}
