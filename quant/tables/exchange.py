"""The formats in which rows leave and come in: CSV, Parquet, and the pickle that EMQ's authors use, of which no code is run."""

from __future__ import annotations

import ast
import base64
import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emqlang.grammar.diagnostics import error
from emqlang.quant.tables.ledger import Measurement
from emqlang.quant.tables.outcome import Marks
from emqlang.quant.tables.pickled import plain_value
from emqlang.quant.tables.table import Table
from emqlang.store import write_atomically

COLUMNS = (
    "row",
    "config",
    "split",
    "accuracy",
    "loss",
    "agreement",
    "size",
    "bops",
    "seconds",
    "marks",
)
SPLITS = ("heldout", "search")


@dataclass(frozen=True, eq=False)
class Told:
    """A row as a file tells it: its configuration as written, whether a search may see it if that is said, and its worth."""

    config: str
    search: bool | None
    worth: Measurement


def write_csv(table: Table, path: Path) -> None:
    """One line a row; `config` is 4,4,2,... as everywhere."""

    def write(part: Path) -> None:
        with part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for row in _records(table):
                written = {
                    **row,
                    "marks": None if row["marks"] is None else _written_marks(row["marks"]),
                }
                writer.writerow(["" if value is None else value for value in written.values()])

    write_atomically(path, write)


def write_parquet(table: Table, path: Path) -> None:
    """The same columns, marks as bytes of a bit an image; facts in the metadata. Raises E403 without pyarrow."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as reason:
        raise error("E403", "Parquet needs pyarrow", "pip install 'emqlang[parquet]'") from reason
    records = [
        {**row, "marks": None if row["marks"] is None else np.packbits(row["marks"]).tobytes()}
        for row in _records(table)
    ]
    arrow = pyarrow.table({name: [record[name] for record in records] for name in COLUMNS})
    arrow = arrow.replace_schema_metadata({"emqlang": json.dumps(dict(table.facts))})
    write_atomically(path, lambda part: parquet.write_table(arrow, part))


WRITERS: Mapping[str, Callable[[Table, Path], None]] = {"csv": write_csv, "parquet": write_parquet}


def _records(table: Table) -> Iterator[dict[str, Any]]:
    for i in range(len(table)):
        yield {
            "row": int(table.ids[i]),
            "config": ",".join(str(table.menu[c]).removeprefix("W") for c in table.choices[i]),
            "split": SPLITS[int(table.search[i])],
            "accuracy": float(table.accuracy[i]),
            "loss": _known(table.loss[i]),
            "agreement": _known(table.agreement[i]),
            "size": int(table.size[i]),
            "bops": int(table.bops[i]),
            "seconds": _known(table.seconds[i]),
            "marks": None if table.right is None else table.right[i],
        }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def read_csv(path: Path) -> list[Told]:
    """Rows of a CSV with `config` and `accuracy`, and whatever else of COLUMNS it has. Raises E301, E314."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as reason:
        raise error("E301", f"the CSV cannot be read: {reason}", path=str(path)) from reason
    found = []
    for number, row in enumerate(csv.DictReader(io.StringIO(text)), 2):
        if not row.get("config") or not row.get("accuracy") or None in row:
            help = "the first line names the columns, and a config with commas stands in quotes"
            raise error("E314", f"line {number} has no config or no accuracy", help, path=str(path))
        try:
            values = {
                name: float(row[name]) if row.get(name) else None
                for name in ("loss", "agreement", "seconds")
            }
            accuracy = float(row["accuracy"])
            if not 0 <= accuracy <= 1:
                raise ValueError(f"an accuracy is a share, from 0 to 1, and this is {accuracy:g}")
            right = _marks(row.get("marks") or "", accuracy)
        except ValueError as reason:
            raise error(
                "E314", f"line {number} cannot be read: {reason}", path=str(path)
            ) from reason
        split = row.get("split") or ""
        search = SPLITS.index(split) == 1 if split in SPLITS else None
        found.append(Told(row["config"], search, Measurement(accuracy, right=right, **values)))
    return found


def _written_marks(right: Marks) -> str:
    """`10000:` and base64 of a bit an image, most significant first."""
    return f"{len(right)}:{base64.b64encode(np.packbits(right).tobytes()).decode()}"


def _marks(text: str, accuracy: float) -> Marks | None:
    """What `_written_marks` wrote. Raises ValueError for anything else, or marks of another accuracy."""
    if not text:
        return None
    count, _, packed = text.partition(":")
    images, raw = int(count), np.frombuffer(base64.b64decode(packed, validate=True), np.uint8)
    if images < 1 or len(raw) != -(-images // 8):
        raise ValueError(f"marks of {images:,} images do not take {len(raw):,} bytes")
    right = np.unpackbits(raw, count=images).astype(bool)
    if abs(float(right.mean()) - accuracy) > 1e-9:
        raise ValueError(
            f"the marks say {right.mean():.4%} right, and the accuracy is {accuracy:.4%}"
        )
    return right


def read_pickle(path: Path) -> list[Told]:
    """Rows of {number: {'bit_cfg': '(4, 4, 2, ...)', 'acc': 69.5}}; accuracies in percent. Raises E301, E314."""
    try:
        record = plain_value(path.read_bytes())
    except OSError as reason:
        raise error("E301", f"the file cannot be read: {reason}", path=str(path)) from reason
    except ValueError as reason:
        raise error(
            "E314", f"the pickle is not of plain values: {reason}", path=str(path)
        ) from reason
    found: list[Told] = []
    for number, row in record.items() if isinstance(record, dict) else ():
        bits = _bits(row.get("bit_cfg")) if isinstance(row, dict) else None
        accuracy = row.get("acc") if isinstance(row, dict) else None
        if bits is None or not isinstance(accuracy, (int, float)):
            raise error("E314", f"entry {number!r} has no 'bit_cfg' and 'acc'", path=str(path))
        found.append(Told(",".join(map(str, bits)), None, Measurement(float(accuracy) / 100)))
    if not found:
        raise error("E314", "the pickle is no dict of rows", path=str(path))
    return found


def _bits(value: object) -> list[int] | None:
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            return None
    return (
        list(value)
        if isinstance(value, (list, tuple)) and all(isinstance(bits, int) for bits in value)
        else None
    )


READERS: Mapping[str, Callable[[Path], list[Told]]] = {".csv": read_csv, ".pkl": read_pickle}
