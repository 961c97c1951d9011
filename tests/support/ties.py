"""Groups of tied layers over made-up statistics, and the score table of a text."""

from __future__ import annotations

from dataclasses import dataclass

from fakes import Bits, Fake, fake

from emqlang.scores.pipeline import tabulate
from emqlang.scores.table import ScoreTable


@dataclass(frozen=True)
class Tie:
    name: str
    layers: tuple[int, ...]
    main: int


GROUPS = (Tie("stem", (0,), 0), Tie("rest", (1, 2), 2))
BITS = (Bits(2), Bits(3), Bits(8))
STATISTICS = fake(choices=BITS)


def table(text: str, tied: str = "auto", statistics: Fake = STATISTICS) -> ScoreTable:
    (scored,) = tabulate([text], statistics, GROUPS, tied)
    return scored
