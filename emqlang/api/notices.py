"""What a user should know, as warnings of Python."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable

from emqlang.api.words import translated
from emqlang.grammar.diagnostics import Diagnostic, EmqWarning

HERE = __name__.rpartition(".")[0]


def warn(diagnostics: Iterable[Diagnostic]) -> None:
    """Each once, laid at the line that called the package; errors are left out."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(HERE):
        level, frame = level + 1, frame.f_back
    for each in dict.fromkeys(diagnostics):
        if not each.is_error:
            warnings.warn(EmqWarning.of(translated(each)), stacklevel=level)
