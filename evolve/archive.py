"""Everything that a run has seen: canonical keys and fingerprints, with the number of the program that was first."""

from __future__ import annotations

from dataclasses import dataclass, field

from emqlang.grammar.expr import Expr


@dataclass
class Archive:
    """What is known of programs, by number. `last` is the largest number.

    graphs  Weisfeiler-Lehman hash -> the programs with it, for the paper's search, which knows programs by it alone
    """

    keys: dict[bytes, int] = field(default_factory=dict)
    fingerprints: dict[bytes, int] = field(default_factory=dict)
    graphs: dict[str, list[Expr]] = field(default_factory=dict)
    last: int = 0
    last_variant: int = 0

    def add(self, number: int, key: bytes, fingerprint: bytes) -> None:
        """Numbers rise; who was first stays."""
        self.keys.setdefault(key, number)
        if fingerprint:
            self.fingerprints.setdefault(fingerprint, number)
        self.last = number
