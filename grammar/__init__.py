"""The language: `parse` reads a text, `show` writes one. Nothing is imported before it is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emqlang.grammar.files import EmqFile, load_file, load_text
    from emqlang.grammar.library import LIBRARY
    from emqlang.grammar.program import Program, parse
    from emqlang.grammar.text.formatter import fmt
    from emqlang.grammar.text.printer import show

_HOME = {
    **dict.fromkeys(("EmqFile", "load_file", "load_text"), "files"),
    **dict.fromkeys(("Program", "parse"), "program"),
    "LIBRARY": "library",
    "fmt": "text.formatter",
    "show": "text.printer",
}

__all__ = ["LIBRARY", "EmqFile", "Program", "fmt", "load_file", "load_text", "parse", "show"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
