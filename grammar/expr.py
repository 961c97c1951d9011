"""Immutable expressions: what a program is once its text is forgotten.

An expression's identity is its digest, 16 bytes of BLAKE2b over (op, literal, operand digests), the
same in every process. Nothing here is global: two equal expressions may be two objects, and sharing
is only ever an optimisation.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final, TypeVar

from emqlang.grammar import levels, signs
from emqlang.grammar.inputs import INPUTS, Axis, Kind
from emqlang.grammar.kinds import KINDS, SIGNS, kind_of, level_of, power_sign
from emqlang.grammar.levels import Level
from emqlang.grammar.ops import INPUT, LITERAL, OPS, VERSION
from emqlang.grammar.signs import Sign

T = TypeVar("T", bound=Hashable)
V = TypeVar("V")

_CODES = {op: bytes((VERSION, i)) for i, op in enumerate((INPUT, LITERAL, *OPS))}
_AXES = {Axis.NONE: 0, Axis.WEIGHT_BITS: 1, Axis.ACT_BITS: 2, Axis.CHOICE: 3}


class Expr:
    """An expression is an op with its operands, made by `statistic`, `literal` or `apply`.

    op      an op's name, or `input`, or `literal`
    args    operands, of the op's arity
    value   an input's name, a literal's number, the exponent of `pow`; None otherwise
    digest  identity, equality and sort key
    kind    how many values there are for a layer, or for the configuration
    level   which of the two they belong to
    sign    what is known of their sign, for every real value of the inputs
    axes    1 if it depends on weight bits, 2 on activation bits, 3 on both
    size    nodes once all sharing is expanded
    """

    __slots__ = ("args", "axes", "digest", "kind", "level", "op", "sign", "size", "value")

    def __init__(
        self,
        op: str,
        args: tuple[Expr, ...],
        value: float | str | None,
        digest: bytes,
        kind: Kind,
        sign: Sign,
        axes: int,
        size: int = 1,
        level: Level = levels.LAYER,
    ) -> None:
        self.op: Final = op
        self.args: Final = args
        self.value: Final = value
        self.digest: Final = digest
        self.kind: Final = kind
        self.sign: Final = sign
        self.axes: Final = axes
        self.size: Final = size
        self.level: Final = level

    @property
    def number(self) -> float:
        """A literal's number, or the exponent of a power."""
        assert isinstance(self.value, float)
        return self.value

    @property
    def exponent(self) -> float | None:
        """The exponent of a power; None for any other op."""
        return self.number if self.op == "pow" else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expr) and self.digest == other.digest

    def __lt__(self, other: Expr) -> bool:
        return self.digest < other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        if self.size > 200:
            return f"<{self.op} of {self.size} nodes>"
        parts = (*map(repr, self.args), *([] if self.value is None else [str(self.value)]))
        return f"{self.op}({', '.join(parts)})" if self.args else str(self.value)


def literal(value: float) -> Expr:
    """A finite number; minus zero is zero."""
    return _literal(float(value) + 0.0)


@lru_cache(4096)
def _literal(value: float) -> Expr:
    digest = _digest(LITERAL, struct.pack("<d", value))
    sign = signs.of(value)
    return Expr(LITERAL, (), value, digest, Kind.LAYER, sign, 0, level=levels.CONSTANT)


def statistic(name: str) -> Expr:
    """A row of the input table."""
    return _STATISTICS[name]


def apply(op: str, *args: Expr, exponent: float | None = None) -> Expr:
    """The op on its operands. Raises KindError if their kinds, or their levels, do not fit."""
    code, kinds, signs_of = _ROWS[op]
    if len(args) == 2:
        x, y = args
        level = x.level | y.level
        if level == levels.MIXED:
            level = level_of(op, x.level, y.level, kinds=(x.kind, y.kind))
        kind = kinds.get((x.kind, y.kind)) or kind_of(op, x.kind, y.kind, level=level)
        digest = blake2b(code + x.digest + y.digest, digest_size=16).digest()
        sign, axes, size = signs_of[x.sign][y.sign], x.axes | y.axes, x.size + y.size + 1
        return Expr(op, args, None, digest, kind, sign, axes, size, level)
    (x,) = args
    level = x.level if op != "total" else level_of(op, x.level)
    kind, payload = kinds.get((x.kind,)) or kind_of(op, x.kind, level=level), code + x.digest
    if exponent is None:
        digest = blake2b(payload, digest_size=16).digest()
        return Expr(op, args, None, digest, kind, signs_of[x.sign], x.axes, x.size + 1, level)
    exponent += 0.0
    digest = blake2b(payload + struct.pack("<d", exponent), digest_size=16).digest()
    sign = power_sign(exponent)[x.sign]
    return Expr(op, args, exponent, digest, kind, sign, x.axes, x.size + 1, level)


def postorder(*roots: Expr) -> Iterator[Expr]:
    """Every distinct node once, operands before what uses them."""
    return walk(roots, lambda node: node.args)


def walk(roots: Sequence[T], operands: Callable[[T], Sequence[T]]) -> Iterator[T]:
    """Whatever is below the roots, each once and after its operands; no recursion, so any depth."""
    seen: set[T] = set()
    stack = [(root, False) for root in reversed(roots)]
    while stack:
        node, ready = stack.pop()
        if not ready:
            if node in seen:
                continue
            if below := operands(node):
                stack.append((node, True))
                stack += [(operand, False) for operand in reversed(below)]
                continue
        seen.add(node)
        yield node


def fold(root: Expr, value: Callable[[Expr, list[V]], V]) -> V:
    """What a program comes to, each distinct part from what its operands come to."""
    values: dict[bytes, V] = {}
    for node in postorder(root):
        values[node.digest] = value(node, [values[arg.digest] for arg in node.args])
    return values[root.digest]


def inputs(*roots: Expr) -> tuple[str, ...]:
    """Names of the statistics that the programs read, in the input table's order."""
    read = {node.value for node in postorder(*roots) if node.op == INPUT}
    return tuple(name for name in INPUTS if name in read)


def rebuild(node: Expr, args: Sequence[Expr]) -> Expr:
    """The same op on other operands."""
    return apply(node.op, *args, exponent=node.exponent) if args else node


def elaborate(expr: Expr) -> Expr:
    """The program that is meant, one number that depends on the choice.

    A tensor becomes its mean. A value of each layer that no choice changes is weighted by bits
    (Eq. 3), and the sum of what is then there over the layers is the score: a `total` around it
    all, which is not written, so that it is no part of any key.
    """
    if expr.kind is not Kind.LAYER:
        expr = apply("mean", expr)
    if expr.axes or expr.level == levels.CONFIGURATION:
        return expr
    return apply("mul", statistic("bits"), expr)


def _digest(op: str, payload: bytes) -> bytes:
    return blake2b(_CODES[op] + payload, digest_size=16).digest()


_ROWS: dict[str, tuple[bytes, dict[tuple[Kind, ...], Kind], Any]] = {
    op: (_CODES[op], KINDS[op], SIGNS.get(op)) for op in OPS
}
_STATISTICS = {
    row.name: Expr(
        INPUT, (), row.name, _digest(INPUT, row.name.encode()), row.kind, row.sign, _AXES[row.axis]
    )
    for row in INPUTS.values()
}
