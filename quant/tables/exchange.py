"""Tables out and in: CSV, Parquet, and the pickle that EMQ's authors use, none of it run."""

from __future__ import annotations

import base64
import csv
import io
import json
import pickle
import pickletools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np

from emqlang.grammar.diagnostics import EmqError, error
from emqlang.quant.bits import costs
from emqlang.quant.bits.configuration import read_list
from emqlang.quant.bits.menu import Choice
from emqlang.quant.networks.network import Network
from emqlang.quant.tables import sampling
from emqlang.quant.tables.facts import facts_of
from emqlang.quant.tables.ledger import Ledger, Row
from emqlang.quant.tables.measurement import Marks, Measurement
from emqlang.quant.tables.spec import Spec
from emqlang.quant.tables.table import Table, known
from emqlang.store import is_file, write_atomically

SPLITS = ("heldout", "search")


@dataclass(frozen=True, eq=False)
class ImportedRow:
    """A row of a file.

    config  as written
    search  whether a search may see the row; None if the file does not say
    """

    config: str
    search: bool | None
    measurement: Measurement


def write_csv(table: Table, path: Path) -> None:
    """One line per row; `config` is 4,4,2,... as everywhere."""

    def write(part: Path) -> None:
        with part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for row in _records(table, _marks_text):
                writer.writerow(["" if value is None else value for value in row.values()])

    write_atomically(path, write)


def write_parquet(table: Table, path: Path) -> None:
    """The same columns, marks as bytes of a bit per image; facts in the metadata.

    Raises E403 without pyarrow.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as reason:
        raise error("E403", "Parquet needs pyarrow", "pip install 'emqlang[parquet]'") from reason
    records = list(_records(table, _packed))
    arrow = pyarrow.table({name: [record[name] for record in records] for name in COLUMNS})
    arrow = arrow.replace_schema_metadata({"emqlang": json.dumps(dict(table.facts))})
    write_atomically(path, lambda part: parquet.write_table(arrow, part))


WRITERS: Final[Mapping[str, Callable[[Table, Path], None]]] = {
    ".csv": write_csv,
    ".parquet": write_parquet,
}
COLUMNS: Final = (
    *("row", "config", "split", "accuracy", "loss", "agreement"),
    *("size", "bops", "seconds", "marks"),
)


def _records(table: Table, marks: Callable[[Marks], Any]) -> Iterator[dict[str, Any]]:
    """One record of COLUMNS per row; `marks` says how its marks are written."""
    for i in range(len(table)):
        yield {
            "row": int(table.ids[i]),
            "config": table.config(i),
            "split": SPLITS[int(table.search[i])],
            "accuracy": float(table.accuracy[i]),
            "loss": known(table.loss[i]),
            "agreement": known(table.agreement[i]),
            "size": int(table.size[i]),
            "bops": int(table.bops[i]),
            "seconds": known(table.seconds[i]),
            "marks": None if table.right is None else marks(table.right[i]),
        }


def _packed(right: Marks) -> bytes:
    """A bit per image, most significant first."""
    return np.packbits(right).tobytes()


def _marks_text(right: Marks) -> str:
    """The number of images, a colon, and base64 of the packed bits."""
    return f"{len(right)}:{base64.b64encode(_packed(right)).decode()}"


def read_csv(path: Path) -> list[ImportedRow]:
    """Rows of a CSV with `config` and `accuracy`, and whatever else of COLUMNS it has.

    Raises E301, E314.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as reason:
        raise error("E301", f"the CSV cannot be read: {reason}", path=str(path)) from reason
    rows: list[ImportedRow] = []
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    number = 1
    try:
        names = list(reader.fieldnames or ())
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"the column '{twice[0]}' is there twice")
        for number, line in enumerate(reader, 2):
            if not line.get("config") or not line.get("accuracy") or None in line:
                help = "the first line names the columns, and a config with commas stands in quotes"
                message = f"line {number} has no config or no accuracy"
                raise error("E314", message, help, path=str(path))
            rows.append(_row(line))
    except (ValueError, csv.Error, OverflowError) as reason:
        message = f"line {number} cannot be read: {reason}"
        raise error("E314", message, path=str(path)) from reason
    return rows


def _row(line: Mapping[str, str]) -> ImportedRow:
    """Raises ValueError for a value that is wrong."""
    accuracy = float(line["accuracy"])
    optional = ("loss", "agreement", "seconds")
    values = {name: float(line[name]) if line.get(name) else None for name in optional}
    right = _marks(line.get("marks") or "", accuracy)
    split = line.get("split")
    search = SPLITS.index(split) == 1 if split in SPLITS else None
    return ImportedRow(line["config"], search, Measurement(accuracy, right=right, **values))


def _marks(text: str, accuracy: float) -> Marks | None:
    """What `_marks_text` wrote. Raises ValueError for anything else and another accuracy."""
    if not text:
        return None
    count, _, packed = text.partition(":")
    if not 0 < len(count) < 10:
        raise ValueError("marks begin with the number of images")
    images, raw = int(count), np.frombuffer(base64.b64decode(packed, validate=True), np.uint8)
    if images < 1 or len(raw) != -(-images // 8):
        raise ValueError(f"marks of {images:,} images do not take {len(raw):,} bytes")
    right = np.unpackbits(raw, count=images).astype(bool)
    if abs(float(right.mean()) - accuracy) > 1e-9:
        share = f"{right.mean():.4%}"
        raise ValueError(f"the marks say {share} right, and the accuracy is {accuracy:.4%}")
    return right


class _PlainUnpickler(pickle.Unpickler):
    """Reads numbers, texts and containers, and refuses what would import or call something.

    Source: "Restricting Globals" in the documentation of the standard library's pickle.
    """

    def find_class(self, module: str, name: str) -> NoReturn:
        raise ValueError(f"it names {module}.{name}, which is more than a value")

    def persistent_load(self, pid: object) -> NoReturn:
        raise ValueError("it names an object outside, which is more than a value")


def plain_value(data: bytes) -> Any:
    """The value of a pickle of plain values. Raises ValueError for any other."""
    try:
        for opcode, index, _ in pickletools.genops(data):
            if opcode.name == "LONG_BINPUT" and (index or 0) > len(data):  # it would take memory
                raise ValueError("it is damaged")
        return _PlainUnpickler(io.BytesIO(data)).load()
    except Exception as reason:  # a damaged pickle raises whatever its bytes lead to
        raise ValueError(str(reason) or "it is cut short") from reason


def read_pickle(path: Path) -> list[ImportedRow]:
    """Rows of {number: {'bit_cfg': '(4, 4, 2, ...)', 'acc': 69.5}}; accuracies in percent.

    Raises E301, E314.
    """
    try:
        record = plain_value(path.read_bytes())
    except OSError as reason:
        raise error("E301", f"the file cannot be read: {reason}", path=str(path)) from reason
    except ValueError as reason:
        message = f"the pickle is not of plain values: {reason}"
        raise error("E314", message, path=str(path)) from reason
    if not isinstance(record, dict) or not record:
        raise error("E314", "the pickle is not a dict of rows", path=str(path))
    rows = []
    for position, row in enumerate(record.values()):
        bits = _bits(row.get("bit_cfg")) if isinstance(row, dict) else None
        accuracy = row.get("acc") if isinstance(row, dict) else None
        if bits is None or isinstance(accuracy, bool) or not isinstance(accuracy, (int, float)):
            message = f"entry {position} has no 'bit_cfg' and 'acc'"
            raise error("E314", message, path=str(path))
        share = float(accuracy) / 100 if abs(accuracy) < LARGE else inf
        rows.append(ImportedRow(",".join(map(str, bits)), None, Measurement(share)))
    return rows


LARGE = 1e6  # no accuracy, and no number of bits
LONGEST = 100_000  # characters of a configuration


def _bits(value: object) -> Sequence[int] | None:
    if isinstance(value, str):
        if not _LIST.fullmatch(value[:LONGEST]):
            return None
        value = [int(entry) for entry in _NUMBER.findall(value[:LONGEST])]
    if not isinstance(value, (list, tuple)):
        return None
    numbers = [each for each in value if isinstance(each, int) and not isinstance(each, bool)]
    if len(numbers) < len(value) or any(abs(each) >= LARGE for each in numbers):
        return None
    return numbers


_NUMBER = re.compile(r"-?[0-9]{1,6}")
_LIST = re.compile(rf"\s*[(\[]?\s*({_NUMBER.pattern}\s*(,\s*|(?=[)\]]|$)))*[)\]]?\s*")


def _check_rows(rows: Sequence[ImportedRow], source: Path) -> None:
    """Raises E314 for a row whose values cannot be, whatever file it comes from."""
    if not rows:
        raise error("E314", "the file has no rows", path=str(source))
    images = {len(row.measurement.right) for row in rows if row.measurement.right is not None}
    if len(images) > 1:
        counts = " and ".join(map(str, sorted(images)))
        raise error("E314", f"the marks are of {counts} images", path=str(source))
    for number, row in enumerate(rows):
        if problem := next(_problems(row), ""):
            raise error("E314", f"row {number}: {problem}", path=str(source))


def _problems(row: ImportedRow) -> Iterator[str]:
    measured = row.measurement
    if not 0 <= measured.accuracy <= 1:
        yield f"an accuracy is a share, from 0 to 1, and this is {measured.accuracy:g}"
    if measured.agreement is not None and not 0 <= measured.agreement <= 1:
        yield f"an agreement is a share, from 0 to 1, and this is {measured.agreement:g}"
    for name in ("loss", "seconds"):
        value = getattr(measured, name)
        if value is not None and not 0 <= value < inf:
            yield f"the {name} is {value:g}, and is 0 at least and finite"
    if len(row.config) > LONGEST:
        yield f"the config has {len(row.config):,} characters"


READERS: Final[Mapping[str, Callable[[Path], list[ImportedRow]]]] = {
    ".csv": read_csv,
    ".pkl": read_pickle,
}


def import_table(source: Path, out: Path, spec: Spec, command: str) -> int:
    """Makes a table of rows that were measured elsewhere, for a network; returns how many.

    It is there whole or not at all; one of the same rows is left as it is.
    Raises E301 for files, E302 to E309 for the network, E314 for rows that are wrong, impossible or
    appear twice, E315 where there is another table.
    """
    if source.suffix not in READERS:
        raise error("E314", f"'{source.name}' is neither .csv nor .pkl", path=str(source))
    imported = READERS[source.suffix](source)
    _check_rows(imported, source)
    network = spec.network()
    configurations = [_configuration(n, row, network, source) for n, row in enumerate(imported)]
    if len(set(configurations)) < len(configurations):
        raise error("E314", "a configuration appears twice", path=str(source))
    menu = tuple(sorted({choice for row in configurations for choice in row}))
    size, bops = costs.size(network, menu), costs.bops(network, menu, act_bits=spec.act_bits)
    rows, searches = [], sampling.in_search(len(imported))
    for number, (row, searched) in enumerate(zip(imported, searches, strict=True)):
        choices = tuple(map(menu.index, configurations[number]))
        search = searched if row.search is None else row.search
        rows.append(Row(number, choices, search, size.cost(choices), bops.cost(choices)))
    marks = [row.measurement.right for row in imported]
    images = max((len(right) for right in marks if right is not None), default=0)
    facts = facts_of(network, spec, menu, command) | {"images": images, "source": source.name}
    measurements = [row.measurement for row in imported]
    if is_file(out):
        _check_same(Ledger(out, read_only=True), facts, rows, measurements)
    else:
        write_atomically(out, partial(_write, facts=facts, rows=rows, measured=measurements))
    return len(rows)


def _write(
    part: Path, *, facts: dict[str, Any], rows: list[Row], measured: list[Measurement]
) -> None:
    ledger = Ledger.create(part, facts, rows)
    try:
        for row, measurement in zip(rows, measured, strict=True):
            ledger.record(row.id, measurement)
    finally:
        ledger.close()


def _check_same(
    ledger: Ledger, facts: dict[str, Any], rows: list[Row], measured: list[Measurement]
) -> None:
    """Raises E315 if a table is not of these rows, E314 if it is damaged."""
    ledger.check()
    known = ledger.measured()
    names = facts.keys() - {"command", "versions", "source"}
    same = (
        all(ledger.facts.get(name) == json.loads(json.dumps(facts[name])) for name in names)
        and ledger.rows() == rows
        and all(row.id in known and _same(known[row.id], measured[row.id]) for row in rows)
    )
    ledger.close()
    if not same:
        help = "give another --out, or replace it with --force"
        raise error("E315", "there is a table of other rows", help, path=str(ledger.path))


def _same(one: Measurement, two: Measurement) -> bool:
    names = ("accuracy", "loss", "agreement", "seconds")
    right = [b"" if each.right is None else each.right.tobytes() for each in (one, two)]
    return right[0] == right[1] and all(getattr(one, n) == getattr(two, n) for n in names)


def _configuration(
    number: int, row: ImportedRow, network: Network, source: Path
) -> tuple[Choice, ...]:
    try:
        return read_list(row.config, network.collection)
    except EmqError as failure:
        (fault,) = failure.diagnostics
        message = f"row {number}: {fault.message}"
        raise error("E314", message, *fault.help, path=str(source)) from failure
