"""Bits, scales and zero points as JSON or CSV, for everything that reads neither of the others."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from emqlang.quant.export.subject import Export, Settings, Subject
from emqlang.quant.ptq.grids import ActivationGrid

SCHEMA = "emqlang.bits/1"
COLUMNS = ("layer", "tensor", "channel", "bits", "scale", "zero_point")


def write_json(subject: Subject, path: Path, settings: Settings) -> Export:
    """Layer -> bits, scales and zero points of its weight and its input; null is float."""
    network, inputs = subject.network, _inputs(subject)
    layers = {
        layer.name: {
            "type": layer.type,
            "shape": layer.shape,
            "weight": _weight(subject, layer.name),
            "input": _input(inputs.get(layer.name)),
        }
        for layer in network.collection.layers
    }
    model = {"name": network.name, "weights_sha256": network.weights_sha256}
    record = {"schema": SCHEMA, "model": model, "layers": layers}
    path.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return Export((f"{len(layers)} layers",))


def write_csv(subject: Subject, path: Path, settings: Settings) -> Export:
    """A row for every output channel of a weight, and one for an input, whose channel is empty."""
    rows = list(_rows(subject))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([COLUMNS, *rows])
    return Export((f"{len({row[0] for row in rows})} layers, {len(rows):,} rows",))


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
