"""The only file that prints: data on stdout, everything else on stderr, colour where it is wanted.

Colour is decided once for each stream: `--no-color`, then NO_COLOR, then FORCE_COLOR, then
TERM=dumb, then whether the stream is a terminal. Machine formats (`json_object`, `csv_rows`) carry
full precision and never colour.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from math import isfinite
from typing import Any, Final, Literal, NamedTuple, TextIO

import click

from emqlang.grammar.diagnostics import Diagnostic, Paint
from emqlang.views.grid import Cell as Cell
from emqlang.views.grid import Column as Column
from emqlang.views.grid import fitting
from emqlang.views.page import STYLE, Page

_NARROW = 24  # characters of values that two columns leave at least
_LABEL = 60  # the widest label of a tree that moves the column of remarks
_HUE = {True: "red", False: "yellow"}  # of errors, and of warnings

Csv = tuple[Sequence[str], Iterable[Sequence[object]]]  # header, rows


class View(NamedTuple):
    """How a result is shown: printed for people, as one JSON object, and as CSV if it has rows."""

    screen: Callable[[Any], None]
    json: Callable[[Any], dict[str, Any]]
    csv: Callable[[Any], Csv] | None = None


def result(value: Any, view: View, form: Literal["screen", "json", "csv"]) -> None:
    """A result's diagnostics, and the result as its view shows it."""
    diagnostics(getattr(value, "diagnostics", ()))
    if form == "json":
        json_object(view.json(value))
    elif form == "csv":
        assert view.csv is not None
        csv_rows(*view.csv(value))
    else:
        view.screen(value)


def wants_colour() -> bool | None:
    """What the environment says about colour; None leaves it to each stream."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return False if os.environ.get("TERM") == "dumb" else None


def coloured(stream: TextIO) -> bool:
    """Whether text for this stream is coloured, `--no-color` of the running command included."""
    context = click.get_current_context(silent=True)
    wanted = context.color if context is not None else wants_colour()
    return stream.isatty() if wanted is None else wanted


def detail() -> str:
    """How much the running command tells of its work: QUIET, VERBOSE, or in between."""
    context = click.get_current_context(silent=True)
    return "" if context is None else context.meta.get(DETAIL, "")


def quiet() -> bool:
    """Whether the running command shall say nothing but results, warnings and errors."""
    return detail() == QUIET


def width(stream: TextIO | None = None) -> int:
    """Columns of a terminal, or enough for any line where there is none; stdout's, or a stream's.

    COLUMNS speaks for stdout alone: messages that go into a file are for programs, too.
    """
    if (stream or sys.stdout).isatty() or (stream is None and "COLUMNS" in os.environ):
        return shutil.get_terminal_size().columns
    return 1000


DETAIL: Final = "emqlang.detail"  # where a command keeps how much it tells
QUIET, VERBOSE = "quiet", "verbose"
_page: ContextVar[Page | None] = ContextVar("page", default=None)


@contextmanager
def onto(page: Page) -> Iterator[Page]:
    """What is shown goes onto a page, and not to the streams."""
    token = _page.set(page)
    try:
        yield page
    finally:
        _page.reset(token)


def html(show: Callable[[], None]) -> str:
    """What a screen shows, as a piece of HTML that brings its style along."""
    with onto(Page()) as page:
        show()
    return f'<div class="emq"><style>{STYLE}</style>{page.html}</div>'


def text(line: str = "") -> None:
    """A line of data."""
    if (page := _page.get()) is not None:
        return page.line(line)
    sys.stdout.write(line + "\n")


def raw(chunk: str) -> None:
    """Data as it stands, no newline added."""
    sys.stdout.write(chunk)


def note(line: str) -> None:
    """A line about the work, not of the data: stderr, dim."""
    if (page := _page.get()) is not None:
        return page.note(line)
    if quiet():
        return
    columns = width(sys.stderr)
    folded = line if len(line) <= columns else "\n".join(_wrapped(line, columns, whole=True))
    sys.stderr.write(_styled(sys.stderr, folded, dim=True) + "\n")


def heading(title: str, detail: str = "") -> None:
    """A bold title on stdout, with a dim remark behind it."""
    if (page := _page.get()) is not None:
        return page.heading(title, detail)
    parts = [_styled(sys.stdout, title, bold=True), _styled(sys.stdout, detail, dim=True)]
    text("  ".join(part for part in parts if part))


def fields(pairs: Iterable[tuple[str, str]]) -> None:
    """Names and values in two columns on stdout; empty values are left out, long ones wrapped."""
    if (page := _page.get()) is not None:
        return page.fields(pairs)
    rows = [(name, value) for name, value in pairs if value]
    indent = max((len(name) for name, _ in rows), default=0) + 2
    if width() - indent < _NARROW:
        _below(rows)
        return
    for name, value in rows:
        head, *rest = _wrapped(value, width() - indent)
        text(_styled(sys.stdout, name.ljust(indent), fg="cyan") + head)
        for line in rest:
            text(" " * indent + line)


def _below(rows: Iterable[tuple[str, str]]) -> None:
    """Names, and values below them, where there is no room for two columns."""
    for name, value in rows:
        text(_styled(sys.stdout, name, fg="cyan"))
        for line in _wrapped(value, width() - 2):
            text(f"  {line}")


def json_object(value: dict[str, Any]) -> None:
    """One JSON document; numbers that are not finite are null."""
    text(json.dumps(_nulled(value), indent=2, ensure_ascii=False, allow_nan=False))


def csv_rows(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """RFC 4180 with a header line and plain newlines; None and NaN are empty cells."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(_nulled(row) for row in rows)


def _nulled(value: Any) -> Any:
    """The value with every number in it that is not finite replaced by None."""
    if isinstance(value, dict):
        return {key: _nulled(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_nulled(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def table(columns: Sequence[Column], rows: Iterable[Sequence[Cell]]) -> None:
    """A table within the terminal's width, in blocks if it does not fit (views/grid.py)."""
    if (page := _page.get()) is not None:
        return page.table(columns, rows)
    rows = list(rows)
    grid = fitting(columns, rows, width())
    for number, block in enumerate(grid.blocks):
        if number:
            text()
        _block([columns[i] for i in block], [[row[i] for i in block] for row in rows], grid.first)
    if grid.hidden:
        text()
        for line in _wrapped(f"hidden (terminal too narrow): {', '.join(grid.hidden)}", width()):
            text(line)


def _block(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], first: int) -> None:
    """Columns side by side, the first one no wider than that."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False)
    for i, column in enumerate(columns):
        grid.add_column(
            column.title,
            justify=column.justify,
            style=column.style,
            no_wrap=not column.folds and i > 0,
            overflow="fold",
            max_width=None if i or column.folds else first,
        )
    for row in rows:
        pairs = ((cell, "") if isinstance(cell, str) else cell for cell in row)
        grid.add_row(
            *(Text.assemble(cell, (remark and f"\n{remark}", "dim")) for cell, remark in pairs)
        )
    colour = coloured(sys.stdout)
    console = Console(
        file=sys.stdout, force_terminal=colour, no_color=not colour, width=width(), highlight=False
    )
    with console.capture() as capture:
        console.print(grid)
    raw("".join(line.rstrip() + "\n" for line in capture.get().splitlines()))


def diagnostics(records: Iterable[Diagnostic]) -> None:
    """Errors and warnings in rustc's layout on stderr, a blank line between two."""
    columns = width(sys.stderr)
    blocks = [record.render(_painter(record), columns) + "\n" for record in records]
    sys.stderr.write("\n".join(blocks))


def diagnostic_records(records: Sequence[Diagnostic]) -> dict[str, list[dict[str, Any]]]:
    """Diagnostics as `--json` has them: errors and warnings."""
    return {
        "errors": [record.as_dict() for record in records if record.is_error],
        "warnings": [record.as_dict() for record in records if not record.is_error],
    }


def failure(errors: Sequence[Diagnostic], as_json: bool) -> None:
    """The errors that end a command: on stderr, and with --json as records on stdout too."""
    diagnostics(errors)
    if as_json:
        json_object(diagnostic_records(errors))


def tree(lines: Iterable[tuple[int, str, str]]) -> None:
    """A tree from (depth, label, remark) in preorder, remarks in a column of their own."""
    depths, labels, remarks = zip(*lines, strict=True)
    rows = list(zip(_stems(depths), labels, remarks, strict=True))
    column = min(max(len(stem + label) for stem, label, _ in rows), _LABEL) + 2
    for stem, label, remark in rows:
        padding = " " * max(2, column - len(stem + label)) if remark else ""
        stem, remark = (_styled(sys.stdout, part, dim=True) for part in (stem, remark))
        text(stem + label + padding + remark)


def steps(rows: Iterable[tuple[str, str, str]]) -> None:
    """A rule, what it found, and what it made of it."""
    for rule, before, after in rows:
        text(_styled(sys.stdout, rule, fg="cyan"))
        text(f"  {before}")
        text(_styled(sys.stdout, "  = ", dim=True) + after)


def internal_error(crash: BaseException, debug: bool) -> None:
    """One line about a bug of ours and how to report it; the traceback only when asked for."""
    if debug:
        import traceback

        sys.stderr.write("".join(traceback.format_exception(crash)))
    what = " ".join(f"internal error: {type(crash).__name__}: {crash}".split())
    advice = "please report it, with the command and the output of EMQLANG_DEBUG=1"
    sys.stderr.write(_styled(sys.stderr, what, fg="red", bold=True) + f" ({advice})\n")


def duration(seconds: float) -> str:
    """Seconds for people: 8 s, 3 min, 2.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _painter(record: Diagnostic) -> Paint:
    """How the parts of a diagnostic are coloured."""
    hue = _HUE[record.is_error]
    colours = {"severity": hue, "message": None, "gutter": "blue", "mark": hue, "help": "cyan"}
    return lambda role, part: _styled(sys.stderr, part, fg=colours[role], bold=True)


def _styled(stream: TextIO, chunk: str, **style: Any) -> str:
    return click.style(chunk, **style) if chunk and coloured(stream) else chunk


def _stems(depths: Sequence[int]) -> list[str]:
    """What stands before each node of a preorder: `├─`, `└─`, `│` above a later sibling."""
    stems: list[str] = []
    open_levels: set[int] = set()  # levels at which a sibling is still to come
    for depth in reversed(depths):
        bars = "".join("│  " if level in open_levels else "   " for level in range(1, depth))
        stems.append(bars + ("├─ " if depth in open_levels else "└─ ") if depth else "")
        open_levels = {level for level in open_levels if level < depth} | {depth}
    return stems[::-1]


def _wrapped(value: str, columns: int, *, whole: bool = False) -> list[str]:
    """Lines of so many characters; words that are longer are broken, or stay whole."""
    from textwrap import wrap

    lines = [
        wrap(line, max(columns, 16), break_on_hyphens=False, break_long_words=not whole) or [""]
        for line in value.split("\n")
    ]
    return [part for line in lines for part in line]
