"""The rows of a study: raw as they are measured, and the few that docs/results cites.

Raw rows are lines of JSON in `raw/`, which git ignores; a run that was interrupted measures the
rows that are missing. What a page cites is summed up in a small CSV file in `results/`.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

RAW = Path(__file__).parent / "raw"
RESULTS = Path(__file__).parent / "results"
Row = dict[str, Any]


def append(path: Path, row: Mapping[str, Any]) -> None:
    """Add a raw row, on disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")
        file.flush()
        os.fsync(file.fileno())


def raw(path: Path) -> Iterator[Row]:
    """The whole lines of a file of raw rows; one that a crash cut short is left out."""
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue


def save(name: str, rows: Iterable[Row]) -> None:
    rows = list(rows)
    with (RESULTS / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def load(name: str) -> list[Row]:
    """Numbers are numbers again."""
    with (RESULTS / f"{name}.csv").open(newline="") as file:
        return [{key: _value(text) for key, text in row.items()} for row in csv.DictReader(file)]


def _value(text: str) -> int | float | str:
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text


def table(header: Sequence[str], lines: Iterable[Sequence[object]], right: str = "") -> str:
    """A Markdown table, with the columns that are named in `right` aligned there."""
    rules = ["---:" if name in right.split(", ") else "---" for name in header]
    body = (f"| {' | '.join(map(str, line))} |" for line in (header, *lines))
    first, *others = body
    return "\n".join([first, f"|{'|'.join(rules)}|", *others]) + "\n"
