"""The rows of several batches: one at a time, in any order, or joined again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from emqlang.quant.networks.batches import held, listed, slice_rows
from emqlang.quant.networks.batches import rows as count
from emqlang.quant.networks.nested import mapped, structure, tensors


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of batches as the user gave them; the row at `places[i]` is (batch, row in it).

    Rows are joined in one batch where it has the same structure for all of them, and what has no
    row per image the same values.
    """

    batches: tuple[Any, ...]
    places: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, data: Iterable[Any], limit: int | None = None) -> Rows:
        """Copies of the first `limit` rows of the data, or of all."""
        batches, places = list[Any](), list[tuple[int, int]]()
        for batch in data:
            size = count(batch)
            left = size if limit is None else min(size, limit - len(places))
            if left:
                places += [(len(batches), row) for row in range(left)]
                batches += held([batch if left == size else slice_rows(batch, 0, left)])
            if limit is not None and len(places) >= limit:
                break
        return cls(tuple(batches), tuple(places))

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Any:
        """A batch of one row."""
        batch, row = self.places[index]
        return slice_rows(self.batches[batch], row, row + 1)

    def take(self, order: Sequence[int]) -> Rows:
        """Some of the rows, in this order."""
        return Rows(self.batches, tuple(self.places[index] for index in order))

    def chunks(self, size: int) -> Iterator[tuple[int, int, Any]]:
        """(start, stop, batch) of all rows in order, at most `size` where they can be joined."""
        start = 0
        while start < len(self):
            stop = start + 1
            while stop < min(start + size, len(self)) and self._fit(start, stop):
                stop += 1
            yield start, stop, self._joined(start, stop)
            start = stop

    def _joined(self, start: int, stop: int) -> Any:
        """These rows as one batch; rows that lie in a row are cut, and not copied."""
        runs: list[list[int]] = []  # batch, first row, last row + 1
        for batch, row in self.places[start:stop]:
            if runs and runs[-1][0] == batch and runs[-1][2] == row:
                runs[-1][2] += 1
            else:
                runs.append([batch, row, row + 1])
        parts = [slice_rows(self.batches[batch], first, last) for batch, first, last in runs]
        if len(parts) == 1:
            return parts[0]
        has_rows = iter(self._has_rows[runs[0][0]])

        def one(first: Tensor, *rest: Tensor) -> Tensor:
            return torch.cat([first, *rest]) if next(has_rows) else first

        return mapped(one, *parts)

    def _fit(self, a: int, b: int) -> bool:
        """Whether two rows can be in one batch."""
        return self._kinds[self.places[a][0]] == self._kinds[self.places[b][0]]

    @cached_property
    def _has_rows(self) -> list[list[bool]]:
        """For each tensor of each batch, whether it has a row per image."""
        return [
            [leaf.ndim > 0 and len(leaf) == count(batch) for leaf in tensors(batch)]
            for batch in self.batches
        ]

    @cached_property
    def _kinds(self) -> list[int]:
        """A number for each batch: the same where rows can be joined."""
        kinds, first = list[int](), list[int]()
        for batch in range(len(self.batches)):
            kind = next((k for k, other in enumerate(first) if self._alike(batch, other)), None)
            if kind is None:
                kind = len(first)
                first.append(batch)
            kinds.append(kind)
        return kinds

    def _alike(self, a: int, b: int) -> bool:
        here, there = self.batches[a], self.batches[b]
        if listed(here) or listed(there):  # images of any size
            return False
        if self._has_rows[a] != self._has_rows[b] or structure(here) != structure(there):
            return False
        pairs = zip(tensors(here), tensors(there), self._has_rows[a], strict=True)
        return all(rows or torch.equal(one, other) for one, other, rows in pairs)
