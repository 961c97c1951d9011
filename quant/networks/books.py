"""What several traces of one network, taken on different images, count together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from emqlang.quant.networks.tracing import Trace

COUNTS = ("macs", "outputs", "products", "outside", "uncovered")


@dataclass(frozen=True)
class Books:
    """The sums of what the traces count, under the same names.

    owners  weight -> the first layer that has it
    """

    rows: int
    owners: Mapping[str, str]
    macs: Counter[str] = field(default_factory=Counter)
    outputs: Counter[str] = field(default_factory=Counter)
    products: Counter[str] = field(default_factory=Counter)
    outside: Counter[str] = field(default_factory=Counter)
    uncovered: Counter[str] = field(default_factory=Counter)
    tables: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, traces: Sequence[Trace]) -> Books:
        books = cls(sum(trace.rows for trace in traces), traces[0].owners)
        for trace in traces:
            for name in COUNTS:
                getattr(books, name).update(getattr(trace, name))
            books.tables.update(trace.tables)
        return books

    @cached_property
    def reached(self) -> dict[str, str]:
        """Weight -> layer, of those that their own forward multiplies with its input."""
        return {weight: layer for weight, layer in self.owners.items() if self.products[layer]}

    @cached_property
    def unreached(self) -> list[str]:
        """Layers of whose weight nothing was made."""
        return [
            layer
            for weight, layer in self.owners.items()
            if weight not in self.reached and weight not in self.floating
        ]

    @cached_property
    def floating(self) -> Counter[str]:
        """Parameter -> multiply-accumulates that stay at 32 bits: 0 of a table."""
        counts = Counter(dict.fromkeys(self.tables - self.reached.keys(), 0))
        counts.update(self.uncovered)
        for weight, layer in self.owners.items():
            if layer in self.outside and weight not in self.reached:
                counts[weight] += self.outside[layer]
        return counts
