"""The proxy that bits are chosen by where none is named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emqlang.cli.options import pick
from emqlang.grammar import library
from emqlang.grammar.program import Program
from emqlang.views import render


def proxy(word: str | None, options: Mapping[str, Any]) -> Program:
    """The word's, or else the recommended one, and a line on stderr says so."""
    if word is not None:
        return library.find_one(word)
    from emqlang.tasks.domains import effort
    from emqlang.tasks.workbench import WorkbenchOptions

    program = library.recommended(pairs=options["menu"] is not None)
    cost = effort(program, pick(WorkbenchOptions, dict(options)))
    render.note(f"bits are chosen by {program.name}, since {library.REASON}; it takes {cost}")
    return program
