"""A bounded memory of arrays that are costly to compute, such as reduced values."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emqlang.compiler.axes import Bits

Array = NDArray[np.float64]
_OVERHEAD: Final = 400  # bytes of an entry besides its numbers: key, array header, table slot


class Key(NamedTuple):
    """All that a reduced value is a function of."""

    digest: bytes  # of the reduction in planning form
    fingerprint: str  # of the statistics
    engine: str
    bits: Bits


class Cache:
    """Drops the least recently used values once all take more than `capacity` bytes."""

    def __init__(self, capacity: int = 64 << 20) -> None:
        self.capacity = capacity
        self.hits = self.misses = self.bytes = 0
        self._values: OrderedDict[Hashable, Array] = OrderedDict()

    def get(self, key: Hashable) -> Array | None:
        value = self._values.get(key)
        if value is None:
            self.misses += 1
            return None
        self.hits += 1
        self._values.move_to_end(key)
        return value

    def put(self, key: Hashable, value: Array) -> None:
        """Keeps a copy that nobody can write to."""
        if key in self._values:
            return
        value = value.copy()
        value.flags.writeable = False
        self._values[key] = value
        self.bytes += value.nbytes + _OVERHEAD
        while self.bytes > self.capacity:
            _, oldest = self._values.popitem(last=False)
            self.bytes -= oldest.nbytes + _OVERHEAD
