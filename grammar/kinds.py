"""Kind and sign inference: what a value is, before anything runs.

`kind_of` and `level_of`, and the tables `KINDS` and `SIGNS`, give one op's result from its
operands'.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import Any, Final

from emqlang.grammar import levels, signs
from emqlang.grammar.inputs import Kind
from emqlang.grammar.levels import Level
from emqlang.grammar.ops import OPS, Class
from emqlang.grammar.signs import ANY, NEGATIVE, NONNEGATIVE, POSITIVE, ZERO, Sign


class KindError(Exception):
    """A kind error says that an op cannot take operands of these kinds, or of these levels.

    The caller adds the place.

    code     E201 or E202
    operand  the index of the one at fault; None for all of them
    """

    def __init__(self, code: str, message: str, *help: str, operand: int | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.help, self.operand = code, message, help, operand


def kind_of(op: str, *kinds: Kind, level: Level = levels.LAYER) -> Kind:
    """The kind of op's result on values of a level. Raises KindError."""
    kind = KINDS[op].get(kinds)
    if kind is None:
        raise _refusal(op, kinds, level)
    return kind


def level_of(op: str, *of: Level, kinds: tuple[Kind, ...] = ()) -> Level:
    """The level of op's result on values of these levels and kinds. Raises KindError."""
    if op == "total":
        if of[0] != levels.CONFIGURATION:
            return levels.CONFIGURATION
        message = "'total' adds up layers, and this belongs to the configuration already"
        raise KindError("E201", message, "leave out the outer 'total'", operand=0)
    level = of[0] | of[-1]
    if level == levels.MIXED:
        message = f"'{OPS[op].infix}' cannot combine layer with configuration values"
        place = of.index(levels.LAYER)
        adds_up = kinds[place : place + 1] in KINDS["total"]
        help = "put it inside total(...)" if adds_up else "reduce it inside total(mean(...))"
        raise KindError("E201", message, help, operand=place)
    return level


def describe(kind: Kind, level: Level) -> str:
    """What a value is, in a word or two."""
    if level != levels.CONFIGURATION:
        return str(kind)
    return "configuration" if kind is Kind.LAYER else f"configuration {kind}"


@lru_cache(1024)
def power_sign(exponent: float) -> tuple[Sign, ...]:
    """The sign table of x ** c under the op table's meaning."""
    if exponent == 0:
        return signs.unary(POSITIVE, POSITIVE, POSITIVE)
    if exponent != int(exponent):
        return signs.unary(ZERO, ZERO, POSITIVE)
    return signs.unary(POSITIVE if exponent % 2 == 0 else NEGATIVE, ZERO, POSITIVE)


_SAME = signs.unary(NEGATIVE, ZERO, POSITIVE)
_ABS = signs.unary(POSITIVE, ZERO, POSITIVE)
_UNARY: dict[str, tuple[Sign, ...]] = {
    "neg": signs.FLIP,
    "abs": _ABS,
    "sign": _SAME,
    "relu": signs.unary(ZERO, ZERO, POSITIVE),
    "inv": _SAME,
    "sqrt": signs.unary(ZERO, ZERO, POSITIVE),
    "log": signs.unary(ZERO, ZERO, ANY),
    "exp": signs.unary(POSITIVE, POSITIVE, POSITIVE),
    "sigmoid": signs.unary(POSITIVE, POSITIVE, POSITIVE),
    "sum": signs.SUM,
    "mean": signs.SUM,
    "std": signs.unary(NONNEGATIVE, ZERO, NONNEGATIVE),
    "var": signs.unary(NONNEGATIVE, ZERO, NONNEGATIVE),
    "min": _SAME,
    "max": _SAME,
    "l1": tuple(signs.SUM[_ABS[s]] for s in range(8)),
    "l2": tuple(signs.SUM[_ABS[s]] for s in range(8)),
    "square": _ABS,
    "normalize": signs.unary(ANY, ZERO, ANY),
    "min_max": signs.unary(NONNEGATIVE, ZERO, NONNEGATIVE),
    "gram": signs.unary(ANY, ZERO, ANY),
    "softmax": signs.unary(POSITIVE, POSITIVE, POSITIVE),
    "logsoftmax": signs.unary(NEGATIVE | ZERO, NEGATIVE | ZERO, NEGATIVE | ZERO),
    "slogdet": signs.unary(ANY, ZERO, ANY),
    "total": signs.SUM,
}
_BINARY: dict[str, tuple[tuple[Sign, ...], ...]] = {
    "add": signs.ADD,
    "sub": tuple(tuple(signs.ADD[s][signs.FLIP[t]] for t in range(8)) for s in range(8)),
    "mul": signs.MUL,
    "div": signs.MUL,
    "matmul": tuple(tuple(signs.SUM[signs.MUL[s][t]] for t in range(8)) for s in range(8)),
}
# op -> table indexed by the signs of its operands; for pow, see power_sign
SIGNS: Final[dict[str, Any]] = {**_UNARY, **_BINARY}
assert SIGNS.keys() | {"pow"} == OPS.keys()


def _table(op: str) -> dict[tuple[Kind, ...], Kind]:
    """Which operand kinds an op takes, and what comes of them."""
    row = OPS[op]
    tensors = (Kind.WEIGHT, Kind.ACTIVATION, Kind.MATRIX, Kind.IMAGE)
    if row.cls is Class.REDUCTION:
        return {(k,): Kind.LAYER for k in tensors}
    if op in ("normalize", "min_max"):
        return {(k,): k for k in tensors}
    if op in ("softmax", "logsoftmax"):
        return {(k,): k for k in (Kind.WEIGHT, Kind.MATRIX)}
    if op == "gram":
        return {(k,): Kind.MATRIX for k in (Kind.WEIGHT, Kind.MATRIX)}
    if op == "matmul":
        return {(k, k): Kind.MATRIX for k in (Kind.WEIGHT, Kind.MATRIX)}
    if op == "slogdet":
        return {(Kind.MATRIX,): Kind.LAYER}
    if op == "total":
        return {(k,): k for k in (Kind.LAYER, Kind.IMAGE)}
    return {ks: k for ks in product(Kind, repeat=row.arity) if (k := _broadcast(ks)) is not None}


def _broadcast(kinds: tuple[Kind, ...]) -> Kind | None:
    """A layer value joins anything; two different tensor kinds do not meet."""
    tensors = {k for k in kinds if k is not Kind.LAYER}
    return Kind.LAYER if not tensors else tensors.pop() if len(tensors) == 1 else None


KINDS: Final = {op: _table(op) for op in OPS}


def _refusal(op: str, kinds: tuple[Kind, ...], level: Level) -> KindError:
    row = OPS[op]
    if row.cls is Class.REDUCTION:
        number = "one number" + " per layer" * (level != levels.CONFIGURATION)
        return KindError(
            "E202", f"'{op}' reduces a tensor, and this is already {number}", f"leave out '{op}'"
        )
    if op == "total":
        message = f"'total' adds up one number per layer, or one value per image, not {kinds[0]}"
        return KindError(
            "E201", f"{message} values", "reduce it first, for instance with mean(...)"
        )
    if row.arity == 2 and row.cls is Class.ELEMENTWISE:
        return KindError(
            "E201",
            f"'{row.infix}' cannot combine {kinds[0]} with {kinds[1]} values",
            "reduce one of them to a layer value first, for instance with mean(...)",
        )
    *others, last = dict.fromkeys(str(k[0]) for k in KINDS[op])
    takes = f"{', '.join(others)} or {last}" if others else last
    got = " and ".join(f"{'an' if k[0] in 'ai' else 'a'} {k} value" for k in kinds)
    return KindError("E201", f"'{row.infix or op}' takes {takes} values, got {got}")
