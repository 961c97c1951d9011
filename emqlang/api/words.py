"""What errors and warnings say, in the words of the Python API: `loss=function`, not `--loss`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import wraps
from typing import Final, ParamSpec, TypeVar

from emqlang.grammar.diagnostics import Diagnostic, EmqError

P = ParamSpec("P")
R = TypeVar("R")
# Options that have a keyword here; the others are left as they are.
KEYWORDS: Final[Mapping[str, str]] = {
    **{name: name.replace("-", "_") for name in ("label-draws", "calib-images", "latency-table")},
    **{name: name.replace("-", "_") for name in ("avg-bits", "act-bits", "batch-size")},
    **{name: name for name in ("loss", "forward", "metric", "data", "rounding", "bits", "menu")},
    **{name: name for name in ("size", "bops", "latency", "fix", "tie", "columns", "polish")},
    **{name: name for name in ("lr", "epochs", "distill", "bn", "preset", "seed", "device")},
    **{name: name for name in ("weights", "input", "fisher", "method", "samples", "out")},
    "stat-images": "images",
    "stat-rounding": "rounding",
    "iters": "iterations",
    "test": "data",
    "hold-unmeasured": "hold_unmeasured=True",
    "partial": "partial=True",
}
FUNCTIONS: Final = ("loss", "forward", "metric")
VALUES: Final = (
    r"self|label|random|nearest|adaround|brecq|exact|sample|freeze|train|paper|auto|PATH"
)
OPTION: Final = re.compile(
    rf"--([a-z][a-z-]*)(?:[ =]('[^']*'|(?:{VALUES})\b|[\w./*-]*[\d:/=][\w.:/=*,]*))?"
)


def in_python(function: Callable[P, R]) -> Callable[P, R]:
    """The function, whose errors speak of its keywords."""

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except EmqError as failure:
            failure.diagnostics = tuple(map(translated, failure.diagnostics))
            raise

    return called


def translated(diagnostic: Diagnostic) -> Diagnostic:
    """The same, with keywords for options."""
    help = tuple(OPTION.sub(_keyword, line) for line in diagnostic.help)
    return replace(diagnostic, message=OPTION.sub(_keyword, diagnostic.message), help=help)


def _keyword(match: re.Match[str]) -> str:
    """`loss=function` for `--loss file.py:function`."""
    keyword, value = KEYWORDS.get(match[1]), match[2]
    if keyword is None:
        return match[0]
    if value is None:
        return keyword
    tail = "".join(re.findall(r"[.:,]+$", value))
    value = value.removesuffix(tail)
    if keyword in FUNCTIONS and ":" in value:
        return f"{keyword}=function{tail}"
    plain = value.startswith("'") or value.replace(".", "", 1).isdigit()
    return f"{keyword}={value if plain else repr(value)}{tail}"
