"""Ranks, with equal values sharing the mean of theirs, and pairs that two rankings order alike.

They are what `scipy.stats` computes, whose import takes longer than all else that `rank` does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def ranks(values: NDArray[Any]) -> Array:
    """Average ranks from 1 along the last axis, (..., n); NaN where a line of n has a NaN."""
    lines = values.reshape(-1, values.shape[-1])
    order = np.argsort(lines, axis=-1, kind="stable")
    starts, times = _runs(np.take_along_axis(lines, order, -1))
    shared = starts % lines.shape[1] + (times + 1) / 2
    found = np.empty(lines.shape)
    np.put_along_axis(found, order, np.repeat(shared, times).reshape(lines.shape), -1)
    found[np.isnan(lines).any(-1)] = np.nan
    return found.reshape(values.shape)


def kendall_tau(values: Array, truth: Array) -> Array:
    """Kendall's tau-b (...) of lines (..., n) with the truth (n,); 0 where a side is constant."""
    first, second = ranks(values).reshape(-1, len(truth)), ranks(truth)
    order = np.lexsort((np.broadcast_to(second, first.shape), first), axis=-1)
    first, then = np.take_along_axis(first, order, -1), second[order]
    pairs = len(truth) * (len(truth) - 1) // 2
    alike = np.array([_alike(line) for line in first])
    both = np.array([_alike(line) for line in first + 1j * then])  # equal where both sides are
    same = _alike(np.sort(second))
    surplus = pairs - alike - same + both - 2 * inversions(then)  # concordant less discordant pairs
    scale = np.sqrt((pairs - alike) * float(pairs - same))
    tau: Array = np.divide(surplus, scale, out=np.zeros_like(scale), where=scale > 0)
    return tau.reshape(values.shape[:-1])


def inversions(lines: NDArray[Any]) -> NDArray[np.int64]:
    """How many pairs (...) of lines (..., n) have the larger value first, by merge sort.

    Of two sorted halves that are merged, a value of the second leaves its place by as many as are
    larger in the first.
    """
    *shape, length = lines.shape
    width, full = 1, 1 << max(length - 1, 0).bit_length()
    padded = np.full((*shape, full), np.inf)
    padded[..., :length] = lines
    found = np.zeros(shape, np.int64)
    while width < full:
        blocks = padded.reshape(*shape, -1, 2 * width)
        order = np.argsort(blocks, axis=-1, kind="stable")
        moved = np.where(order >= width, order - np.arange(2 * width), 0)
        found += moved.sum((-2, -1))
        padded = np.take_along_axis(blocks, order, -1)
        width *= 2
    return found


def _alike(line: NDArray[Any]) -> int:
    """How many pairs of a line (n,), whose equal values stand together, are equal."""
    _, times = _runs(line[None])
    return int((times * (times - 1) // 2).sum())


def _runs(lines: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where runs of equal values begin in lines (m, n) laid end to end, and how long they are."""
    new = np.ones(lines.shape, bool)
    new[:, 1:] = lines[:, 1:] != lines[:, :-1]
    starts = np.flatnonzero(new)
    return starts, np.diff(starts, append=new.size)
