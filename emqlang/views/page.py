"""What a screen says, as HTML: the same headings, fields, tables and lines, in light and dark.

`render.html` fills it with a screen: what a notebook displays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from emqlang.views.grid import Cell, Column

STYLE: Final = """
.emq{font:14px/1.45 system-ui,sans-serif;max-width:100%}
.emq h4{font-size:1em;margin:.9em 0 .3em}.emq h4 small{font-weight:400;opacity:.7;margin-left:.6em}
.emq dl{display:grid;grid-template-columns:max-content 1fr;gap:.1em 1em;margin:.3em 0}
.emq dt{opacity:.7}.emq dd{margin:0;overflow-wrap:anywhere}
.emq .wide{overflow-x:auto}
.emq table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:.4em 0}
.emq th,.emq td{padding:.15em .7em;text-align:left;vertical-align:top;white-space:nowrap}
.emq th,.emq td{background:none;color:inherit}
.emq th{border-bottom:1px solid currentColor;font-weight:600}
.emq .right{text-align:right}.emq .folds{white-space:normal;min-width:14em}
.emq .bold{font-weight:600}.emq .dim{opacity:.7}
.emq td small{display:block;opacity:.7;font-family:ui-monospace,monospace}
.emq pre{margin:.3em 0;font:12px/1.4 ui-monospace,monospace;white-space:pre-wrap;color:inherit}
.emq p.note{opacity:.7;margin:.3em 0}
"""


class Page:
    """The parts of a page, in the order in which they were said."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self._lines: list[str] = []

    def heading(self, title: str, detail: str = "") -> None:
        small = f"<small>{escape(detail)}</small>" if detail else ""
        self._add(f"<h4>{escape(title)}{small}</h4>")

    def fields(self, pairs: Iterable[tuple[str, str]]) -> None:
        rows = [f"<dt>{escape(n)}</dt><dd>{escape(value)}</dd>" for n, value in pairs if value]
        self._add(f"<dl>{''.join(rows)}</dl>")

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence[Cell]]) -> None:
        heads = "".join(f"<th{_class(one)}>{escape(one.title)}</th>" for one in columns)
        body = "".join(
            "<tr>"
            + "".join(f"<td{_class(c)}>{_cell(v)}</td>" for c, v in zip(columns, row, strict=True))
            + "</tr>"
            for row in rows
        )
        table = f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
        self._add(f'<div class="wide">{table}</div>')

    def line(self, text: str) -> None:
        """One of lines that stand as they are, one below the other."""
        self._lines.append(text)

    def note(self, text: str) -> None:
        self._add(f'<p class="note">{escape(text)}</p>')

    @property
    def html(self) -> str:
        """The parts, which need STYLE."""
        self._add("")
        return "".join(self.parts)

    def _add(self, part: str) -> None:
        lines = "\n".join(self._lines).strip("\n")
        if lines:
            self.parts.append(f"<pre>{escape(lines)}</pre>")
        self._lines = []
        self.parts.append(part)


def _class(column: Column) -> str:
    names = [name for name in (column.justify, column.style) if name in ("right", "bold", "dim")]
    names += ["folds"] if column.folds else []
    return f' class="{" ".join(names)}"' if names else ""


def _cell(value: Cell) -> str:
    text, remark = (value, "") if isinstance(value, str) else value
    return escape(text) + (f"<small>{escape(remark)}</small>" if remark else "")
