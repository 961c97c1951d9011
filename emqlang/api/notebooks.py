"""Results as notebooks show them, and their method `plot`: what either needs is imported late."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from emqlang.grammar.program import Program


def attach() -> None:
    """Gives results the methods that notebooks ask for, where one runs."""
    if "IPython" in sys.modules:
        from emqlang.views import notebook

        notebook.attach()


def drawn(*kinds: type[Any]) -> None:
    """Gives kinds of results the method `plot`."""
    for kind in kinds:
        kind.plot = _plot


def _plot(
    result: Any, *proxies: str | Program, kind: str = "", out: str | Path | None = None
) -> Figure:
    """A matplotlib figure, as `emqlang.plot(result, ...)` makes it."""
    from emqlang.api.pictures import plot

    return plot(result, *proxies, kind=kind, out=out)
