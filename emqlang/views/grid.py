"""Which columns of a table stand side by side on a terminal, so that no digit and no name is cut.

Columns that can be done without give way, the last one first. What still does not fit goes into
blocks one below the other, each of which begins with the first column.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

GAP = 3  # characters between two columns
_FOLDED = 20  # of a column that folds, no less where others may give way

Cell = str | tuple[str, str]  # a text, or one with a dim remark below it


@dataclass(frozen=True, slots=True)
class Column:
    """A table's column; to fit the terminal its cells may be folded, or it may be left out."""

    title: str
    justify: Literal["left", "right"] = "left"
    style: str = ""
    folds: bool = False
    optional: bool = False


@dataclass(frozen=True)
class Grid:
    """What is shown: blocks of columns by number, how wide the first is, and titles left out."""

    blocks: tuple[tuple[int, ...], ...]
    first: int
    hidden: tuple[str, ...]


def fitting(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int) -> Grid:
    """The blocks of a table on a terminal of so many characters."""
    widths = [*_widths(columns, rows)]
    kept = list(range(len(columns)))
    for i in reversed(kept):
        if _total(widths, kept) > width and columns[i].optional:
            kept = [j for j in kept if j != i]
    left_out = (column.title for i, column in enumerate(columns) if i not in kept)
    hidden = tuple(filter(None, left_out))
    first, *others = kept
    if _total(widths, kept) <= width or not others:
        return Grid((tuple(kept),), widths[first], hidden)
    beside = max(widths[i] for i in others) + GAP
    head = min(widths[first], max(width - beside, width // 3))
    blocks = [[first]]
    used = head
    for i in others:
        if used + GAP + widths[i] > width and len(blocks[-1]) > 1:
            blocks.append([first])
            used = head
        blocks[-1].append(i)
        used += GAP + widths[i]
    return Grid(tuple(map(tuple, blocks)), head, hidden)


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> Iterator[int]:
    """Of each column as wide as it wants to be, or as it must be if it folds."""
    for i, column in enumerate(columns):
        cells = (row[i] for row in rows)
        lines = [line for cell in cells for line in ((cell,) if isinstance(cell, str) else cell)]
        most = max(map(len, (column.title, *lines)))
        yield min(most, _FOLDED) if column.folds else most


def _total(widths: Sequence[int], kept: Sequence[int]) -> int:
    return sum(widths[i] + GAP for i in kept) - GAP
