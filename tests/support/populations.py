"""Random programs, and statistics of small and of large layers to evaluate them on."""

from __future__ import annotations

from typing import Any

from fakes import fake
from numpy.typing import NDArray
from places import PROGRAMS

from emqlang.compiler.kernels import TILE
from emqlang.grammar.expr import Expr
from emqlang.grammar.files import load_file

Array = NDArray[Any]
SMALL = fake()
# layers of several tiles with a remainder, of a part of one, and of one value
BIG = fake(
    shapes={
        "wide": (16, TILE // 16 + 1001),
        "stem": (8, 3, 3, 3),
        "one": (1, 1),
        "long": (4, TILE // 2),
    },
    sampled=3000,
)


def population() -> list[Expr]:
    """The benchmarks' 1,000 random programs, canonical."""
    return [proxy.canonical for proxy in load_file(PROGRAMS).proxies.values()]


def same(a: Array, b: Array) -> bool:
    """Bit for bit."""
    return a.tobytes() == b.tobytes()
