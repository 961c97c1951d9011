"""Choice axes: a value is evaluated per row of the axes it depends on, not per choice."""

from __future__ import annotations

from collections.abc import Sequence

from emqlang.compiler.statistics import Choice

# weight bits and activation bits; None where the value does not depend on them
Bits = tuple[int | None, int | None]


class Axes:
    """The rows of each `Expr.axes` mask over one menu, in order of first appearance."""

    def __init__(self, choices: Sequence[Choice]) -> None:
        pairs = [(choice.weight_bits, choice.act_bits) for choice in choices]
        self.bits = tuple(
            tuple(dict.fromkeys(_masked(mask, pair) for pair in pairs)) for mask in range(4)
        )
        self._row = tuple({bits: row for row, bits in enumerate(rows)} for rows in self.bits)
        self._of_choice = tuple(
            tuple(row[_masked(mask, pair)] for pair in pairs) for mask, row in enumerate(self._row)
        )

    def rows(self, mask: int) -> range:
        return range(len(self.bits[mask]))

    def project(self, mask: int, row: int, onto: int) -> int:
        """The row of another mask, no wider, that a row falls on."""
        return self._row[onto][_masked(onto, self.bits[mask][row])]

    def of_choices(self, mask: int) -> tuple[int, ...]:
        """For each choice of the menu, its row."""
        return self._of_choice[mask]


def _masked(mask: int, bits: Bits) -> Bits:
    return bits[0] if mask & 1 else None, bits[1] if mask & 2 else None
