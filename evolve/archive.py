"""The programs that a run has seen, by canonical key and by fingerprint of their scores."""

from __future__ import annotations

from dataclasses import dataclass, field

from emqlang.grammar.expr import Expr


@dataclass
class Archive:
    """What a run knows.

    keys    canonical key -> the program's number
    sizes   fingerprint -> the least nodes of a program that has it
    graphs  Weisfeiler-Lehman hash -> programs, by which alone the paper's search knows them
    last    the largest number; `last_variant` likewise, of other graphs of a program
    """

    keys: dict[bytes, int] = field(default_factory=dict)
    sizes: dict[bytes, int] = field(default_factory=dict)
    graphs: dict[str, list[Expr]] = field(default_factory=dict)
    last: int = 0
    last_variant: int = 0

    def add(self, number: int, key: bytes, fingerprint: bytes, nodes: int) -> None:
        """Adds a program; numbers rise."""
        self.keys.setdefault(key, number)
        if fingerprint:
            self.sizes[fingerprint] = min(nodes, self.sizes.get(fingerprint, nodes))
        self.last = number
