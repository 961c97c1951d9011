"""Errors of outputs that are values, relative to these outputs: of all rows, and row by row."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import torch
from torch import Tensor


class Errors:
    """Energies of the errors, and of the outputs they are errors of, output by output.

    alike  whether all outputs so far had their counterparts' shapes; if not, there is no error
    """

    def __init__(self) -> None:
        self.alike = True
        self._sums: dict[int, list[float]] = {}
        self._rows: dict[int, list[Tensor]] = {}  # the same (2, rows) of each batch

    def add(self, found: Sequence[Tensor], wanted: Sequence[Tensor]) -> None:
        """Add the outputs of one batch."""
        self.alike &= [part.shape for part in found] == [part.shape for part in wanted]
        if not self.alike:
            return
        for place, (own, exact) in enumerate(zip(found, wanted, strict=True)):
            exact = exact.to(own.device).double()
            there = exact.isfinite()  # masks hold infinities
            noise = float((own.double() - exact)[there].square().sum())
            sums = self._sums.setdefault(place, [0.0, 0.0])
            sums[0] += noise if noise < inf else inf
            sums[1] += float(exact[there].square().sum())
            if own.ndim:
                squares = (own.double() - exact).square(), exact.square()
                parts = [part.where(there, 0.0).reshape(len(part), -1).sum(1) for part in squares]
                self._rows.setdefault(place, []).append(torch.stack(parts).cpu())

    def relative(self) -> float | None:
        """The norm of the errors over that of the outputs; of several outputs, the largest."""
        return max(map(_ratio, self._sums.values())) if self.alike and self._sums else None

    def shares(self) -> Tensor | None:
        """What each row has in it, to first order (rows,): their mean is the relative error.

        None where the error is 0 or infinite, or outputs have no rows.
        """
        if not self.alike or not self._rows:
            return None
        worst = max(self._rows, key=lambda place: _ratio(self._sums[place]))
        ratio, (noise, energy) = _ratio(self._sums[worst]), torch.cat(self._rows[worst], 1)
        if not 0 < ratio < inf:
            return None
        found: Tensor = ratio + (noise - ratio**2 * energy) / (2 * ratio * energy.mean())
        return found


def _ratio(energies: Sequence[float]) -> float:
    noise, energy = energies
    return 0.0 if not noise else inf if not energy else (noise / energy) ** 0.5
