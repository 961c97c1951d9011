"""The programs that a search is over: productions for each kind, and their least depths.

A production is an op on operands of given kinds. Programs are grown from the table, so that every
one is well-kinded, and no production is taken that could not be closed within the depth that is
left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Final

from emqlang.grammar.diagnostics import error, nearest
from emqlang.grammar.expr import Expr, apply, literal, statistic
from emqlang.grammar.inputs import INPUTS, Axis, Cost, Kind
from emqlang.grammar.kinds import KINDS
from emqlang.grammar.ops import OPS, Class

TENSORS = (Kind.WEIGHT, Kind.ACTIVATION)
EXPONENTS = (-2.0, -1.0, -0.5, 0.25, 0.5, 1.5, 2.0, 3.0)
LITERALS = (0.5, 1.0, 2.0, 3.0)
# How often an op is drawn, relative to 1, like the paper's operation sampling prioritisation.
WEIGHTS: Final[Mapping[str, float]] = {
    **{"add": 1.0, "sub": 0.5, "mul": 2.0, "div": 1.0, "pow": 1.0, "neg": 0.25, "abs": 1.0},
    **{"sign": 0.25, "relu": 0.25, "inv": 0.5, "sqrt": 1.0, "log": 1.0, "exp": 0.25},
    **{"sigmoid": 0.25, "sum": 1.0, "mean": 1.0, "std": 0.5, "var": 0.5, "min": 0.25, "max": 0.25},
    **{"l1": 0.5, "l2": 0.5, "square": 1.0, "normalize": 0.25, "min_max": 0.25, "gram": 0.25},
    **{"matmul": 0.25, "softmax": 0.25, "logsoftmax": 0.25, "slogdet": 0.25},
}
JOINT = tuple(name for name, op in OPS.items() if op.cls is Class.CONFIGURATION)
assert WEIGHTS.keys() == OPS.keys() - set(JOINT)
STRUCTURED = tuple(name for name, op in OPS.items() if op.cls is Class.STRUCTURED or name == "gram")
LEAF = 0.35  # the probability of a leaf where depth is left and both are possible


@dataclass(frozen=True, slots=True)
class Production:
    """An op on operands of these kinds. `closes` is the least depth of a program that it heads.

    Leaves have depth 1.
    """

    op: str
    operands: tuple[Kind, ...]
    weight: float
    closes: int


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
        max_nodes: int = 24,
        max_depth: int = 9,
    ) -> Space:
        """By default, all statistics that cost no N forwards and have no value for each image, and
        all ops that are not structured.

        choice_dependent  whether `bits`, `qerr` and the like are among them
        Raises E102 for an unknown name, E408 for a space without programs, E410 for an op of the
        configuration: what is searched separates.
        """
        ops = tuple(ops)
        for name in JOINT:
            if name in ops:
                message = f"programs with '{name}' do not separate, and are not searched"
                raise error("E410", message, f"leave out '{name}'")
        space = cls(
            _named(inputs, INPUTS, default_inputs(choice_dependent), "statistic"),
            _named(ops, OPS, default_ops(), "op"),
            max_nodes,
            max_depth,
        )
        if space.closes(Kind.LAYER) > max_depth or not space.inputs:
            message = "no program of this space gives one number per layer"
            raise error("E408", message, "add an input, or a reduction")
        return space

    @cached_property
    def productions(self) -> Mapping[Kind, tuple[Production, ...]]:
        """For each kind, the productions whose operands can be closed."""
        depth = self._depths
        table: dict[Kind, list[Production]] = {kind: [] for kind in Kind}
        for op in self.ops:
            kinds = {
                operands: kind
                for operands, kind in KINDS[op].items()
                if all(operand in depth for operand in operands)
            }
            for operands, kind in kinds.items():
                weight = WEIGHTS[op] / sum(other is kind for other in kinds.values())
                closes = 1 + max(depth[operand] for operand in operands)
                table[kind].append(Production(op, operands, weight, closes))
        return {kind: tuple(rows) for kind, rows in table.items()}

    @cached_property
    def _depths(self) -> dict[Kind, int]:
        """The least depth at which each kind closes; kinds that never do are missing."""
        depth = {kind: 1 for kind in Kind if self.leaves[kind]}
        settled = False
        while not settled:
            settled = True
            for operands, kind in (row for op in self.ops for row in KINDS[op].items()):
                least = 1 + max(depth.get(operand, self.max_depth) for operand in operands)
                if least < depth.get(kind, self.max_depth + 1):
                    depth[kind], settled = least, False
        return depth

    @cached_property
    def leaves(self) -> Mapping[Kind, tuple[Expr, ...]]:
        """Statistics of each kind; literals are drawn apart."""
        return {
            kind: tuple(statistic(name) for name in self.inputs if INPUTS[name].kind is kind)
            for kind in Kind
        }

    def closes(self, kind: Kind) -> int:
        """The least depth of a program of this kind."""
        return self._depths.get(kind, self.max_depth + 1)

    def grow(self, kind: Kind, depth: int, random: Random) -> Expr:
        """A random expression of this kind, no deeper than `depth`: at least `closes(kind)`."""
        leaves = self.leaves[kind]
        rows = [row for row in self.productions[kind] if row.closes <= depth]
        if not rows or (leaves and random.random() < LEAF):
            return self.leaf(kind, random)
        (row,) = random.choices(rows, [row.weight for row in rows])
        operands = [self.grow(operand, depth - 1, random) for operand in row.operands]
        return self.build(row.op, operands, random)

    def build(self, op: str, operands: Sequence[Expr], random: Random) -> Expr:
        """The op on operands, with an exponent where it takes one."""
        return apply(op, *operands, exponent=random.choice(EXPONENTS) if op == "pow" else None)

    def leaf(self, kind: Kind, random: Random) -> Expr:
        """A statistic of this kind; of layer values, a literal now and then."""
        leaves = self.leaves[kind]
        if kind is Kind.LAYER and (not leaves or random.random() < 1 / 3):
            return literal(random.choice(LITERALS))
        return random.choice(leaves)

    def has_leaf(self, kind: Kind) -> bool:
        return kind is Kind.LAYER or bool(self.leaves[kind])

    def program(self, random: Random) -> Expr:
        """A random program: a layer value, of a random depth, within the limit of nodes."""
        least = self.closes(Kind.LAYER)
        while True:
            depth = random.randint(least, max(least, min(6, self.max_depth)))
            program = self.grow(Kind.LAYER, depth, random)
            if program.size <= self.max_nodes and program.args:
                return program


def default_inputs(choice_dependent: bool) -> tuple[str, ...]:
    """All statistics but those of N forwards or of each image, and `act_bits`, which is constant
    in menus of weight bits."""
    return tuple(
        name
        for name, row in INPUTS.items()
        if row.cost is not Cost.FORWARDS
        and row.kind is not Kind.IMAGE
        and name != "act_bits"
        and (choice_dependent or row.axis is Axis.NONE)
    )


def default_ops() -> tuple[str, ...]:
    return tuple(name for name in OPS if name not in (*STRUCTURED, *JOINT))


def _named(
    names: Iterable[str], table: Mapping[str, object], default: tuple[str, ...], what: str
) -> tuple[str, ...]:
    chosen = tuple(names)
    for name in chosen:
        if name not in table:
            help = (*nearest(name, table), "`emqlang ops` lists them")
            raise error("E102", f"there is no {what} '{name}'", *help)
    return tuple(name for name in table if name in chosen) or default
