"""The search space: every well-kinded program over some statistics and ops.

A production makes a value of one kind from operands of given kinds. Growth takes only productions whose operands can be
closed with statistics within the depth that is left, so that it never has to begin again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

from emqlang.grammar.diagnostics import error, nearest
from emqlang.grammar.expr import Expr, apply, literal, statistic
from emqlang.grammar.inputs import INPUTS, Cost, Kind
from emqlang.grammar.kinds import KINDS
from emqlang.grammar.ops import OPS, Class

LEAF_SHARE = 0.35  # of the places where both a leaf and an op could stand
LITERALS = (0.5, 1.0, 2.0, 3.0)
EXPONENTS = (2.0, 0.5, 3.0, -2.0)

DEFAULT_INPUTS = tuple(row.name for row in INPUTS.values() if row.cost is not Cost.FORWARDS)
DEFAULT_OPS = tuple(op.name for op in OPS.values() if op.cls is not Class.STRUCTURED and op.name not in ("gram", "l1", "square"))


@dataclass(frozen=True, slots=True)
class Production:
    """op(operands of these kinds), with the exponent of `pow`."""

    op: str
    kinds: tuple[Kind, ...]
    exponent: float | None = None


@dataclass(frozen=True)
class Space:
    """Which programs a search may make.

    inputs  statistics; ops  of the op table
    depth   most ops above each other in a program that is grown; variation may go deeper, up to `nodes`
    nodes   most nodes of a program, sharing expanded
    Raises E102 for a name that is unknown, E407 where no program can be made.
    """

    inputs: tuple[str, ...] = DEFAULT_INPUTS
    ops: tuple[str, ...] = DEFAULT_OPS
    depth: int = 5
    nodes: int = 24

    def __post_init__(self) -> None:
        for names, known, what in ((self.inputs, INPUTS, "statistic"), (self.ops, OPS, "op")):
            for name in names:
                if name not in known:
                    raise error("E102", f"there is no {what} called '{name}'", *nearest(name, known))
        if not any(name not in ("bits", "act_bits") for name in self.inputs):
            raise error("E407", "the search space is empty: it has no statistic but bits", "name some with --inputs")

    @cached_property
    def leaves(self) -> Mapping[Kind, tuple[Expr, ...]]:
        """Statistics and literals by kind."""
        numbers = tuple(map(literal, LITERALS))
        read = tuple(map(statistic, self.inputs))
        return {kind: (*(x for x in read if x.kind is kind), *(numbers if kind is Kind.LAYER else ())) for kind in Kind}

    @cached_property
    def productions(self) -> Mapping[Kind, tuple[Production, ...]]:
        """What makes a value of each kind, of operands that can be made; not of layer values alone where nothing comes of it."""
        made: dict[Kind, list[Production]] = {kind: [] for kind in Kind}
        for op in self.ops:
            for kinds, kind in KINDS[op].items():
                if all(k in self.closing for k in kinds):
                    exponents: Sequence[float | None] = EXPONENTS if op == "pow" else (None,)
                    made[kind] += (Production(op, kinds, exponent) for exponent in exponents)
        return {kind: tuple(rows) for kind, rows in made.items()}

    @cached_property
    def closing(self) -> Mapping[Kind, int]:
        """The least depth at which a value of each kind can be closed; kinds that cannot are absent."""
        found = {kind: 0 for kind in Kind if self.leaves[kind]}
        while True:
            reached = dict(found)
            for op in self.ops:
                for kinds, kind in KINDS[op].items():
                    if all(k in found for k in kinds):
                        depth = 1 + max(found[k] for k in kinds)
                        reached[kind] = min(depth, reached.get(kind, depth))
            if reached == found:
                return found
            found = reached

    def program(self, rng: Random) -> Expr:
        """A random program, of a kind and a depth drawn first; a tensor stands for its mean."""
        return self.grow(rng.choice([kind for kind in (Kind.LAYER, Kind.WEIGHT, Kind.ACTIVATION) if kind in self.closing]),
                         rng.randint(1, self.depth), rng)  # fmt: skip

    def grow(self, kind: Kind, depth: int, rng: Random) -> Expr:
        """A random value of a kind, at most `depth` ops deep, or as deep as the kind needs."""
        leaves = self.leaves[kind]
        if leaves and (depth <= 0 or rng.random() < LEAF_SHARE):
            return rng.choice(leaves)
        depth = max(depth, self.closing[kind])
        fitting = [p for p in self.productions[kind] if all(self.closing[k] < depth for k in p.kinds)]
        if not fitting:
            return rng.choice(leaves)
        chosen = rng.choice(fitting)
        return apply(chosen.op, *(self.grow(k, depth - 1, rng) for k in chosen.kinds), exponent=chosen.exponent)
