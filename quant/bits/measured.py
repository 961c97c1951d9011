"""Scores that were measured elsewhere: layers, what each may choose, and how good that is.

One row per layer and choice, as CSV (commas, semicolons or tabs) or as a JSON list of objects:

    name     the layer
    numel    its weights
    choice   a name for what the layer may get: `4`, `W4`, `Q4_K`
    bits     per weight, scales and all, to six decimals: `4.5`
    score    how good the choice is, which adds up over layers; or `loss`: how bad it is
    macs     of the layer, for a budget of bit operations; may be left out
    latency  of the layer with this choice in milliseconds, for a budget of time; may be left out
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from io import StringIO
from math import isfinite
from pathlib import Path
from typing import Any, Final

from emqlang.grammar.diagnostics import Diagnostic, EmqError, Source, Span, error, nearest
from emqlang.quant.records import read_json, typed

REQUIRED: Final = ("name", "numel", "choice", "bits")
SCORES: Final = ("score", "loss")  # exactly one of them
OPTIONAL: Final = ("macs", "latency")
COLUMNS: Final = (*REQUIRED, *SCORES, *OPTIONAL)
SCHEMA: Final = "columns: name,numel,choice,bits,score[,macs,latency], or loss instead of score"
_DECIMALS: Final = 10**6  # of bits
_NAMED: Final = 10  # mistakes that are reported at once
_LARGEST: Final = 2**50
_REAL = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,3})?", re.ASCII)

Rows = Iterable[Mapping[str, Any]]


@dataclass(frozen=True)
class Measurement:
    """One choice of one layer: bits per weight, score, and nanoseconds if they were measured."""

    bits: Fraction
    score: float
    latency: int | None


@dataclass(frozen=True)
class MeasuredLayer:
    """A layer with its weights, its MACs if they are known, and what it may choose."""

    name: str
    numel: int
    macs: int | None
    choices: Mapping[str, Measurement]


@dataclass(frozen=True)
class MeasuredScores:
    """Layers in the order of their first rows; `menu` has every choice in the same order."""

    layers: tuple[MeasuredLayer, ...]
    menu: tuple[str, ...]
    source: str


def read_scores(
    scores: str | Path | Rows, columns: Mapping[str, str] | None = None, partial: bool = False
) -> MeasuredScores:
    """Layers and choices from a file, or from rows.

    columns  our name of a column -> the file's, where they differ
    partial  whether a layer may lack choices, which it is then never given
    Raises E301 for a file that cannot be read, E403 for `columns`, E321 for what is in the file:
    up to ten mistakes at once, each with its line.
    """
    table = _read(scores) if isinstance(scores, str | Path) else _Table.of("the rows", list(scores))
    places = _places(table, columns or {})
    faults = list[Diagnostic]()
    rows = [_typed(table, index, places, faults, partial) for index in range(len(table.rows))]
    layers = _layers(table, [row for row in rows if row is not None], places, faults)
    menu = tuple(dict.fromkeys(choice for layer in layers for choice in layer.choices))
    if not layers and not faults:
        faults.append(Diagnostic("E321", "there are no rows", help=(SCHEMA,), path=table.name))
    if not faults and not partial:
        faults += _holes(table, layers, menu)
    if faults:
        faults.sort(key=lambda fault: fault.span.start if fault.span else 0)
        raise EmqError(*faults[:_NAMED])
    return MeasuredScores(layers, menu, table.name)


def parse_columns(text: str) -> dict[str, str]:
    """`name=tensor,loss=kld`: our names of columns and the file's. Raises E403."""
    columns: dict[str, str] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        ours, equals, theirs = (part.strip() for part in entry.partition("="))
        if not equals or not theirs:
            message = f"'{entry}' renames no column"
            raise error("E403", message, "write --columns name=tensor,loss=kld")
        if ours in columns:
            raise error("E403", f"the column '{ours}' is named twice")
        columns[ours] = theirs
    return columns


@dataclass(frozen=True)
class _Table:
    """Rows of texts, and where each was written.

    lines  of every row the text's line, from 1; 0 where there is no text with lines
    """

    name: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    text: str = ""
    lines: Sequence[int] = ()

    @classmethod
    def of(cls, name: str, records: Sequence[Any]) -> _Table:
        """Rows that are mappings: of a JSON file, or of Python."""
        if strays := [row for row in records if not isinstance(row, Mapping)]:
            message = f"a row is a {type(strays[0]).__name__}"
            raise error("E321", message, "give a list of objects", SCHEMA, path=name)
        header = list(dict.fromkeys(str(key) for row in records for key in row))
        texts = [
            ["" if (v := row.get(key)) is None else str(v) for key in header] for row in records
        ]
        return cls(name, header, texts)

    def place(self, row: int) -> str:
        return f"on line {self.lines[row]}" if self.lines else f"in row {row + 1}"

    def fault(self, row: int, column: str, message: str, *help: str) -> Diagnostic:
        """E321 at a cell, or at the whole line if it is not clear where the cell is."""
        if not self.lines:
            where = f"row {row + 1}: {message}"
            return Diagnostic("E321", where, help=help, path=self.name)
        source, number = Source(self.name, self.text), self.lines[row]
        line = source.line(number).removesuffix("\r")
        start = sum(len(before) + 1 for before in self.text.split("\n")[: number - 1])
        span = Span(start, start + len(line))
        cells, place = re.split("[,;\t]", line), -1
        if column in self.header and len(cells) == len(self.header):
            place = list(self.header).index(column)
            start += sum(len(cell) + 1 for cell in cells[:place])
            span = Span(start, start + len(cells[place]))
        return Diagnostic("E321", message, source, span, help=help)


def _read(path: str | Path) -> _Table:
    """A CSV or JSON file, by its ending. Raises E301, E321."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as reason:
        raise error("E301", f"cannot read the scores: {reason}", path=str(path)) from reason
    if path.suffix == ".json":
        record = read_json(text, "E321", "the file of scores", str(path))
        return _Table.of(str(path), typed(record, list[Any], "E321", "the scores", str(path)))
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines, rows = list[int](), list[list[str]]()
    first = text.split("\n", 1)[0]
    reader = csv.reader(StringIO(text), strict=True, delimiter=max(",;\t", key=first.count))
    last = 0
    try:
        for row in reader:
            if row:
                rows.append([cell.strip() for cell in row])
                lines.append(last + 1)
            last = reader.line_num
    except csv.Error as reason:
        table = _Table(str(path), (), (), text, [last + 1])
        raise EmqError(table.fault(0, "", f"this is not CSV: {reason}")) from reason
    header, *body = rows or [[]]
    table = _Table(str(path), header, body, text, lines[1:])
    ragged = [
        table.fault(i, "", f"{len(row)} cells under {len(header)} columns")
        for i, row in enumerate(body)
        if len(row) != len(header)
    ]
    if ragged:
        raise EmqError(*ragged[:_NAMED])
    return table


def _places(table: _Table, columns: Mapping[str, str]) -> dict[str, int]:
    """Our names of columns -> where they stand. Raises E321, E403."""
    header = list(table.header)
    for ours, theirs in columns.items():
        if ours not in COLUMNS:
            known = f"known are {', '.join(COLUMNS)}"
            raise error("E403", f"there is no column '{ours}'", *nearest(ours, COLUMNS), known)
        if theirs not in header:
            has = f"it has {', '.join(header)}"
            message = f"the file has no column '{theirs}'"
            raise error("E403", message, *nearest(theirs, header), has, path=table.name)
    names = {ours: columns.get(ours, ours) for ours in COLUMNS}
    found = {ours: theirs for ours, theirs in names.items() if theirs in header}
    if SCORES[0] in found and SCORES[1] in found:  # the one that was asked for by name
        asked = [name for name in SCORES if name in columns]
        if len(asked) != 1:
            message = "there is a score and a loss, and one of them is wanted"
            raise error("E321", message, "choose it, as --columns loss=loss", path=table.name)
        found = {ours: theirs for ours, theirs in found.items() if ours not in {*SCORES} - {*asked}}
    missing = [name for name in REQUIRED if name not in found]
    missing += ["score"] if not {*SCORES} & {*found} else []
    strays = [name for name in header if name not in found.values()]
    if missing or (strays and not columns):
        what = "lacks" if missing else "has the unknown"
        named = ", ".join(missing or strays)
        help = "name a foreign layout's columns, as --columns name=tensor,loss=kld"
        raise error("E321", f"the file {what} columns: {named}", SCHEMA, help, path=table.name)
    if twice := [theirs for theirs in found.values() if header.count(theirs) > 1]:
        raise error("E321", f"the column '{twice[0]}' appears twice", path=table.name)
    return {ours: header.index(theirs) for ours, theirs in found.items()}


def _text(text: str) -> str:
    if not text:
        raise ValueError("is empty")
    return text


def _number(text: str) -> Fraction:
    if not _REAL.fullmatch(_text(text)) or not isfinite(float(text)):
        raise ValueError(f"'{text}' is not a finite number")
    return Fraction(text)


def _whole(text: str) -> int:
    number = _number(text)
    if number.denominator != 1 or not 0 <= number <= _LARGEST:
        raise ValueError(f"'{text}' is not a whole number from 0 to 2 ** 50")
    return int(number)


def _numel(text: str) -> int:
    if not (number := _whole(text)):
        raise ValueError("a layer has at least one weight")
    return number


def _bits(text: str) -> Fraction:
    number = round(_number(text) * _DECIMALS)
    if not 0 < number <= 64 * _DECIMALS:
        raise ValueError(f"'{text}' is not above 0 and at most 64")
    return Fraction(number, _DECIMALS)


def _nanoseconds(text: str) -> int:
    number = round(_number(text) * 10**6)
    if not 0 <= number < 10**15:
        raise ValueError(f"'{text}' is not a time in milliseconds")
    return number


_TYPES: Final[Mapping[str, Callable[[str], Any]]] = {
    "name": _text,
    "numel": _numel,
    "choice": _text,
    "bits": _bits,
    "score": lambda text: float(_number(text)),
    "loss": lambda text: -float(_number(text)),
    "macs": _whole,
    "latency": _nanoseconds,
}
Row = tuple[int, dict[str, Any]]  # its index, and its values by our names


def _typed(
    table: _Table, index: int, places: Mapping[str, int], faults: list[Diagnostic], partial: bool
) -> Row | None:
    """A row's values; None for a row with faults, or without a score if that is allowed."""
    values, before = dict[str, Any](), len(faults)
    for name, place in places.items():
        cell = table.rows[index][place]
        if name in SCORES and not cell and partial:
            return None
        try:
            values[name] = None if name in OPTIONAL and not cell else _TYPES[name](cell)
        except ValueError as reason:
            help = ("--partial never gives a layer what it has no score for",)
            said = f"{name}: {reason}" if cell else f"the {name} {reason}"
            asks = help if name in SCORES and not cell else ()
            faults.append(table.fault(index, table.header[place], said, *asks))
    return (index, values) if len(faults) == before else None


def _layers(
    table: _Table, rows: Sequence[Row], places: Mapping[str, int], faults: list[Diagnostic]
) -> tuple[MeasuredLayer, ...]:
    """Rows by layer. What contradicts an earlier row is a fault."""
    kind = next((name for name in SCORES if name in places), SCORES[0])
    choices = dict[str, dict[str, Measurement]]()
    firsts = dict[str, Row]()
    for index, row in rows:
        name, choice = row["name"], row["choice"]
        first, values = firsts.setdefault(name, (index, row))
        for column in ("numel", "macs"):
            if row.get(column) != values.get(column):
                said = f"layer '{name}' has {values[column]} {column} {table.place(first)}"
                faults.append(table.fault(index, table.header[places[column]], said))
        if choice in choices.setdefault(name, {}):
            said = f"layer '{name}' has a row for {choice} already"
            faults.append(table.fault(index, table.header[places["choice"]], said))
        choices[name][choice] = Measurement(row["bits"], row[kind], row.get("latency"))
    return tuple(
        MeasuredLayer(name, row["numel"], row.get("macs"), choices[name])
        for name, (_, row) in firsts.items()
    )


def _holes(
    table: _Table, layers: Sequence[MeasuredLayer], menu: Sequence[str]
) -> Iterator[Diagnostic]:
    """One fault for every layer that lacks choices which others have."""
    for layer in layers:
        missing = [choice for choice in menu if choice not in layer.choices]
        if missing:
            message = f"layer '{layer.name}' has no row for {', '.join(missing[:5])}"
            message += f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            help = "add the rows, or never give it these: --partial"
            yield Diagnostic("E321", message, help=(help,), path=table.name)
