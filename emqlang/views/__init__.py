"""What commands show: the table VIEWS of `views/X.py` says how results of `tasks/X.py` are shown.

Only `render` prints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import Any, Literal, NamedTuple

from emqlang.views import render

Form = Literal["screen", "json", "csv"]
Csv = tuple[Sequence[str], Iterable[Sequence[object]]]  # header, rows


class View(NamedTuple):
    """How a result is shown: printed for people, as one JSON object, and as CSV if it has rows."""

    screen: Callable[[Any], None]
    json: Callable[[Any], dict[str, Any]]
    csv: Callable[[Any], Csv] | None = None


def present(result: Any, name: str, form: Form) -> None:
    """Print a result's diagnostics, and the result by `views/<name>.py`."""
    render.diagnostics(getattr(result, "diagnostics", ()))
    view: View = import_module(f"emqlang.views.{name}").VIEWS[type(result)]
    if form == "json":
        render.json_object(view.json(result))
    elif form == "csv":
        assert view.csv is not None, name
        render.csv_rows(*view.csv(result))
    else:
        view.screen(result)
