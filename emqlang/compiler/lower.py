"""From reductions to a tile program: straight-line code over few registers, which stay in cache.

The order of the reductions and what the pool holds change how often a shared part is computed,
never its bits.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from emqlang.compiler.axes import Axes
from emqlang.grammar.expr import Expr, walk
from emqlang.grammar.inputs import Kind
from emqlang.grammar.signs import NEGATIVE

POOL: Final = 16  # registers before a value that is not needed soon is dropped and computed again
IN_PLACE: Final = frozenset(  # ops that may overwrite an operand
    {"add", "sub", "mul", "neg", "abs", "sign", "relu", "exp", "sigmoid"}
)


class Fold(StrEnum):
    """How a chain ends: a reduction, or one with the last op of the chain made part of it."""

    MEAN = "mean"
    VAR = "var"
    MIN = "min"
    MAX = "max"
    MEAN_OF_PRODUCT = "mean of product"
    MEAN_OF_LOG = "mean of log"  # of values >= 0


def fold(reduction: Expr) -> tuple[Fold, tuple[Expr, ...]]:
    """The fold of a reduction in planning form, and its operands."""
    (x,) = reduction.args
    if reduction.op == "mean":
        if x.op == "log" and not x.args[0].sign & NEGATIVE:
            return Fold.MEAN_OF_LOG, x.args
        if x.op == "mul" and x.args[0].kind is x.args[1].kind:
            return Fold.MEAN_OF_PRODUCT, x.args
        if x.op == "pow" and x.value == 2:
            return Fold.MEAN_OF_PRODUCT, x.args * 2
    return Fold(reduction.op), (x,)


class Value(NamedTuple):
    """A node under one row of the choice axes that it depends on."""

    node: Expr
    row: int


class Step(NamedTuple):
    """The node's op on operands, into target. `feeds` are the reductions it is part of, as bits."""

    node: Expr
    operands: tuple[int, ...]
    target: int
    feeds: int


class End(NamedTuple):
    """A fold: its moments go to row `place` of the result. `feeds` is that one bit."""

    fold: Fold
    operands: tuple[int, ...]
    place: int
    feeds: int


@dataclass(frozen=True, slots=True)
class TileProgram:
    """Straight-line code. Slots are numbered inputs first, then scalars, then registers.

    reads  for each input, then each scalar, the reductions that read it, as bits
    The first register is the scratch space of the folds.
    """

    reductions: tuple[Value, ...]
    inputs: tuple[Value, ...]
    scalars: tuple[Value, ...]
    reads: tuple[int, ...]
    registers: int
    code: tuple[Step | End, ...]


def lower(reductions: Sequence[Value], axes: Axes) -> TileProgram:
    """One program for reductions over tensors of one kind, evaluated in one dtype."""
    return _Lowering(axes, reductions).program()


@dataclass(slots=True)
class _Pool:
    """Registers, and which value each holds."""

    base: int
    holds: dict[Value, int] = field(default_factory=dict)
    free: list[int] = field(default_factory=list)
    size: int = 1

    def release(self, value: Value) -> None:
        self.free.append(self.holds.pop(value))

    def take(self) -> int | None:
        """A register that holds nothing, a new one while the pool is small, otherwise None."""
        if self.free:
            return self.free.pop()
        return self.grow() if self.size < POOL else None

    def grow(self) -> int:
        self.size += 1
        return self.base + self.size - 1


class _Lowering:
    def __init__(self, axes: Axes, reductions: Sequence[Value]) -> None:
        self.axes = axes
        self.operands: dict[Value, tuple[Value, ...]] = {}
        self.feeds: dict[Value, int] = defaultdict(int)
        chains = {value: self._chain(value) for value in reductions}
        self.order = _neighbours_together(chains)
        self.chains = [chains[value] for value in self.order]
        self.uses: dict[Value, list[int]] = defaultdict(list)
        self._find_uses()
        leaves = [value for value in self.feeds if not self.operands[value]]
        self.inputs = tuple(value for value in leaves if value.node.kind is not Kind.LAYER)
        self.scalars = tuple(value for value in leaves if value.node.kind is Kind.LAYER)
        self.fixed = {value: slot for slot, value in enumerate((*self.inputs, *self.scalars))}
        self.pool = _Pool(len(self.fixed))
        self.code: list[Step | End] = []

    def program(self) -> TileProgram:
        for position in range(len(self.order)):
            self._emit(position)
        reads = tuple(self.feeds[value] for value in self.fixed)
        return TileProgram(
            tuple(self.order), self.inputs, self.scalars, reads, self.pool.size, tuple(self.code)
        )

    def _chain(self, reduction: Value) -> list[Value]:
        """What the fold's operands need, operands first."""
        self.operands[reduction] = self._values(fold(reduction.node)[1], reduction)
        return list(walk(self.operands[reduction], self._operands_of))

    def _operands_of(self, value: Value) -> tuple[Value, ...]:
        """Of a step; layer values are leaves."""
        if value not in self.operands:
            args = () if value.node.kind is Kind.LAYER else value.node.args
            self.operands[value] = self._values(args, value)
        return self.operands[value]

    def _values(self, nodes: Sequence[Expr], parent: Value) -> tuple[Value, ...]:
        """Nodes under the row that the value which reads them is under."""
        axes, row = parent.node.axes, parent.row
        return tuple(Value(node, self.axes.project(axes, row, node.axes)) for node in nodes)

    def _find_uses(self) -> None:
        """Where a value is read, were nothing computed twice, and the reductions that it feeds."""
        computed: set[Value] = set()
        for position, reduction in enumerate(self.order):
            for value in self.chains[position]:
                self.feeds[value] |= 1 << position
                if value not in computed:
                    computed.add(value)
                    for operand in self.operands[value]:
                        self.uses[operand].append(position)
            for operand in self.operands[reduction]:
                self.uses[operand].append(position)

    def _emit(self, position: int) -> None:
        reduction = self.order[position]
        needed = self._missing(reduction)
        waiting = Counter(
            operand for value in (*needed, reduction) for operand in set(self.operands[value])
        )
        for value in needed:
            self._step(value, waiting, position)
        self.code.append(
            End(fold(reduction.node)[0], self._slots(reduction), position, 1 << position)
        )
        for operand in set(self.operands[reduction]):
            waiting[operand] -= 1
            self._retire(operand, waiting, position)

    def _missing(self, reduction: Value) -> list[Value]:
        """The part of a chain that no register holds, operands first."""
        held = self.fixed.keys() | self.pool.holds.keys()

        def missing(value: Value) -> list[Value]:
            return [operand for operand in self.operands[value] if operand not in held]

        return list(walk(missing(reduction), missing))

    def _step(self, value: Value, waiting: Counter[Value], position: int) -> None:
        """One kernel. If it may overwrite operands, it may get the register of one used up here."""
        operands = self._slots(value)
        in_place = value.node.op in IN_PLACE
        target = None if in_place else self._register(waiting, position)
        for operand in set(self.operands[value]):
            waiting[operand] -= 1
            self._retire(operand, waiting, position)
        self.pool.holds[value] = self._register(waiting, position) if target is None else target
        self.code.append(Step(value.node, operands, self.pool.holds[value], self.feeds[value]))

    def _slots(self, value: Value) -> tuple[int, ...]:
        return tuple(
            self.fixed[operand] if operand in self.fixed else self.pool.holds[operand]
            for operand in self.operands[value]
        )

    def _retire(self, value: Value, waiting: Counter[Value], position: int) -> None:
        in_use = waiting[value] or self._next_use(value, position) is not None
        if value in self.pool.holds and not in_use:
            self.pool.release(value)

    def _next_use(self, value: Value, position: int) -> int | None:
        uses = self.uses[value]
        place = bisect_right(uses, position)
        return uses[place] if place < len(uses) else None

    def _register(self, waiting: Counter[Value], position: int) -> int:
        """A free register; in a full pool, that of the value whose next use is last (Belady)."""
        register = self.pool.take()
        if register is not None:
            return register
        idle = [value for value in self.pool.holds if not waiting[value]]
        if not idle:
            return self.pool.grow()
        last = max(idle, key=lambda value: self._next_use(value, position) or position)
        self.pool.release(last)
        return self.pool.free.pop()


def _neighbours_together(chains: dict[Value, list[Value]]) -> list[Value]:
    """Reductions in an order in which those that share their largest parts follow each other."""
    count = Counter(value for chain in chains.values() for value in chain if value.node.args)

    def shared(reduction: Value) -> list[tuple[int, bytes, int]]:
        parts = [value for value in chains[reduction] if count[value] > 1]
        return sorted((-part.node.size, part.node.digest, part.row) for part in parts)

    return sorted(
        chains, key=lambda reduction: (shared(reduction), reduction.node.digest, reduction.row)
    )
