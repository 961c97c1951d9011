"""The programs that a search is over: productions for each nonterminal, and their least depths.

A nonterminal is a kind and a level, and a production an op on operands of given nonterminals: of
its own level, but for `total`, which leads from values of each layer to one of the configuration.
Programs are grown from the table, so that every one is well-kinded, and no production is taken that
could not be closed within the depth that is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Final, NamedTuple

from emqlang.grammar.diagnostics import error, nearest
from emqlang.grammar.expr import Expr, apply, literal, statistic
from emqlang.grammar.inputs import INPUTS, Axis, Cost, Kind
from emqlang.grammar.kinds import KINDS
from emqlang.grammar.levels import CONFIGURATION, CONSTANT, LAYER, Level
from emqlang.grammar.ops import OPS, Class

EXPONENTS = (-2.0, -1.0, -0.5, 0.25, 0.5, 1.5, 2.0, 3.0)
LITERALS = (0.5, 1.0, 2.0, 3.0)
# How often an op is drawn, relative to 1, like the paper's operation sampling prioritisation.
WEIGHTS: Final[Mapping[str, float]] = {
    **{"add": 1.0, "sub": 0.5, "mul": 2.0, "div": 1.0, "pow": 1.0, "neg": 0.25, "abs": 1.0},
    **{"sign": 0.25, "relu": 0.25, "inv": 0.5, "sqrt": 1.0, "log": 1.0, "exp": 0.25},
    **{"sigmoid": 0.25, "sum": 1.0, "mean": 1.0, "std": 0.5, "var": 0.5, "min": 0.25, "max": 0.25},
    **{"l1": 0.5, "l2": 0.5, "square": 1.0, "normalize": 0.25, "min_max": 0.25, "gram": 0.25},
    **{"matmul": 0.25, "softmax": 0.25, "logsoftmax": 0.25, "slogdet": 0.25, "total": 4.0},
}
assert WEIGHTS.keys() == OPS.keys()
JOINT = tuple(name for name, op in OPS.items() if op.cls is Class.CONFIGURATION)
STRUCTURED = tuple(name for name, op in OPS.items() if op.cls is Class.STRUCTURED or name == "gram")
LEAF = 0.35  # the probability of a leaf where depth is left and both are possible


class Nonterminal(NamedTuple):
    """What may stand in a place of a program: values of a kind, on a level."""

    kind: Kind
    level: Level

    def takes(self, part: Expr) -> bool:
        """Whether the part may stand there. What belongs to no level meets both."""
        return part.kind is self.kind and part.level in (CONSTANT, self.level)


# What a program is: a number of each layer, to be added up, or one of the configuration.
STARTS: Final = (Nonterminal(Kind.LAYER, LAYER), Nonterminal(Kind.LAYER, CONFIGURATION))
NONTERMINALS: Final = tuple(Nonterminal(kind, level) for _, level in STARTS for kind in Kind)


@dataclass(frozen=True, slots=True)
class Production:
    """An op on operands. `closes` is the least depth of a program that it heads; leaves have 1."""

    op: str
    operands: tuple[Nonterminal, ...]
    weight: float
    closes: int


def level_below(op: str, level: Level) -> Level:
    """That of an op's operands, where its result is of a level."""
    return LAYER if op in JOINT else level


def _rows(op: str) -> Iterator[tuple[tuple[Nonterminal, ...], Nonterminal]]:
    """What an op takes, and what comes of it, on each level that it leads to."""
    for _, level in STARTS[op in JOINT :]:
        for kinds, kind in KINDS[op].items():
            operands = tuple(Nonterminal(each, level_below(op, level)) for each in kinds)
            yield operands, Nonterminal(kind, level)


@dataclass(frozen=True)
class Space:
    """The programs over some inputs and ops, within limits.

    inputs     names of statistics
    ops        names of ops
    max_nodes  of a program as it is built
    max_depth  likewise
    """

    inputs: tuple[str, ...]
    ops: tuple[str, ...]
    max_nodes: int = 24
    max_depth: int = 9

    @classmethod
    def of(
        cls,
        inputs: Iterable[str] = (),
        ops: Iterable[str] = (),
        *,
        choice_dependent: bool = True,
        additive: bool = False,
        max_nodes: int = 24,
        max_depth: int = 9,
    ) -> Space:
        """By default, all statistics that cost no N forwards, and all ops that are not structured.

        choice_dependent  whether `bits`, `qerr` and the like are among them
        additive          whether there is no `total`, and by default nothing for each image
        Raises E102 for an unknown name, E403 for an op of the configuration in an additive space,
        E408 for a space without programs.
        """
        ops = _named(ops, OPS, default_ops(additive or not choice_dependent), "op")
        if additive and (joint := [name for name in ops if name in JOINT]):
            message = f"'{joint[0]}' makes programs that are not additive"
            raise error("E403", message, f"leave out '{joint[0]}', or the restriction")
        known = default_inputs(choice_dependent, additive)
        space = cls(_named(inputs, INPUTS, known, "statistic"), ops, max_nodes, max_depth)
        if not space.starts or not space.inputs:
            message = "no program of this space gives one number per layer"
            raise error("E408", message, "add an input, or a reduction")
        return space

    @cached_property
    def starts(self) -> tuple[Nonterminal, ...]:
        """What its programs are."""
        return tuple(start for start in STARTS if self.closes(start) <= self.max_depth)

    @cached_property
    def productions(self) -> Mapping[Nonterminal, tuple[Production, ...]]:
        """For each nonterminal, the productions whose operands can be closed."""
        depth = self._depths
        table: dict[Nonterminal, list[Production]] = {place: [] for place in NONTERMINALS}
        for op in self.ops:
            rows = [
                (operands, place)
                for operands, place in _rows(op)
                if all(operand in depth for operand in operands)
            ]
            for operands, place in rows:
                weight = WEIGHTS[op] / sum(other == place for _, other in rows)
                closes = 1 + max(depth[operand] for operand in operands)
                table[place].append(Production(op, operands, weight, closes))
        return {place: tuple(rows) for place, rows in table.items()}

    @cached_property
    def _depths(self) -> dict[Nonterminal, int]:
        """The least depth at which each closes, not by literals alone; those that never do are
        missing."""
        depth = {place: 1 for place in NONTERMINALS if self.leaves[place]}
        settled = False
        while not settled:
            settled = True
            for operands, place in (row for op in self.ops for row in _rows(op)):
                least = 1 + max(depth.get(operand, self.max_depth) for operand in operands)
                if least < depth.get(place, self.max_depth + 1):
                    depth[place], settled = least, False
        return depth

    @cached_property
    def leaves(self) -> Mapping[Nonterminal, tuple[Expr, ...]]:
        """Statistics; literals are drawn apart."""
        every = [statistic(name) for name in self.inputs]
        return {place: tuple(x for x in every if place.takes(x)) for place in NONTERMINALS}

    def closes(self, place: Nonterminal) -> int:
        """The least depth of a program of this nonterminal."""
        return self._depths.get(place, self.max_depth + 1)

    def grow(self, place: Nonterminal, depth: int, random: Random) -> Expr:
        """A random expression, no deeper than `depth`: at least `closes(place)`."""
        rows = [row for row in self.productions[place] if row.closes <= depth]
        if not rows or (self.has_leaf(place) and random.random() < LEAF):
            return self.leaf(place, random)
        (row,) = random.choices(rows, [row.weight for row in rows])
        operands = [self.grow(operand, depth - 1, random) for operand in row.operands]
        return self.build(row.op, operands, random)

    def build(self, op: str, operands: Sequence[Expr], random: Random) -> Expr:
        """The op on operands, with an exponent where it takes one."""
        return apply(op, *operands, exponent=random.choice(EXPONENTS) if op == "pow" else None)

    def leaf(self, place: Nonterminal, random: Random) -> Expr:
        """A statistic; of numbers, a literal now and then."""
        leaves = self.leaves[place]
        if place.kind is Kind.LAYER and (not leaves or random.random() < 1 / 3):
            return literal(random.choice(LITERALS))
        return random.choice(leaves)

    def has_leaf(self, place: Nonterminal) -> bool:
        return place.kind is Kind.LAYER or bool(self.leaves[place])

    def program(self, random: Random) -> Expr:
        """A random program, of a random depth, within the limit of nodes."""
        while True:
            start = random.choice(self.starts)
            least = self.closes(start)
            depth = random.randint(least, max(least, min(6, self.max_depth)))
            program = self.grow(start, depth, random)
            if program.size <= self.max_nodes and program.args:
                return program


def default_inputs(choice_dependent: bool = True, additive: bool = False) -> tuple[str, ...]:
    """All statistics but those of N forwards, and `act_bits`, which is constant in menus of weight
    bits. In an additive space, none of each image either."""
    return tuple(
        name
        for name, row in INPUTS.items()
        if row.cost is not Cost.FORWARDS
        and not (additive and row.kind is Kind.IMAGE)
        and name != "act_bits"
        and (choice_dependent or row.axis is Axis.NONE)
    )


def default_ops(additive: bool = False) -> tuple[str, ...]:
    """All ops that are not structured, and in an additive space none of the configuration."""
    return tuple(name for name in OPS if name not in (*STRUCTURED, *(JOINT if additive else ())))


def _named(
    names: Iterable[str], table: Mapping[str, object], default: tuple[str, ...], what: str
) -> tuple[str, ...]:
    chosen = tuple(names)
    for name in chosen:
        if name not in table:
            help = (*nearest(name, table), "`emqlang ops` lists them")
            raise error("E102", f"there is no {what} '{name}'", *help)
    return tuple(name for name in table if name in chosen) or default
