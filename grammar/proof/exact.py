"""The protected meaning of every op on real numbers: 60 digits, and a sum below 1e-13 is zero.

In float64 a rewrite that is true can look false, because a rounding error next to zero decides on
which side of a protection a value falls. Here it cannot, as long as all values that occur are zero
or of an ordinary size; `Unclear` says that one is not. Only what adds and subtracts can leave a
rounding error where zero is meant: a small product, power or exponential is unclear.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import mul
from typing import Any

import mpmath  # type: ignore[import-untyped]

from emqlang.grammar import levels
from emqlang.grammar.expr import Expr, fold, walk
from emqlang.grammar.inputs import INPUTS, Kind
from emqlang.grammar.ops import INPUT, LITERAL, OPS
from emqlang.grammar.signs import NEGATIVE, POSITIVE, ZERO


class Unclear(Exception):
    """An unclear value is neither zero nor of an ordinary size."""


Value = Any  # one number, or a matrix of rows
GRID = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0)
_ROWS, _COLUMNS, _SAMPLES = 3, 4, 7
CONTEXT = mpmath.mp.clone()
CONTEXT.dps = 60
_mpf = CONTEXT.mpf
_SMALL, _LARGE = _mpf("1e-9"), _mpf("1e9")
_ROUNDING = _mpf("1e-13")  # literals are folded in float64: 1e-16 of what is large


def sample(seed: int, constant: bool = False) -> dict[str, Value]:
    """A small layer: for every statistic grid values of the sign that it promises; true counts.

    constant  whether each tensor has one value everywhere
    """
    rng = random.Random(seed)

    def draw(name: str) -> float:
        sign = INPUTS[name].sign
        return rng.choice(
            [x for x in GRID if sign & (POSITIVE if x > 0 else NEGATIVE if x < 0 else ZERO)]
        )

    inputs: dict[str, Value] = {}
    for name, row in INPUTS.items():
        if row.kind is Kind.LAYER:
            inputs[name] = draw(name)
        else:
            rows, columns = (_ROWS, _COLUMNS) if row.kind is Kind.WEIGHT else (1, _SAMPLES)
            same = draw(name) if constant else None
            inputs[name] = [
                [draw(name) if same is None else same for _ in range(columns)] for _ in range(rows)
            ]
    return inputs | {"numel": _ROWS * _COLUMNS, "channels_out": _ROWS}


def network(seed: int, layers: int = 3, constant: bool = False) -> list[dict[str, Value]]:
    """Several small layers."""
    return [sample(seed + 1_000_003 * layer, constant) for layer in range(layers)]


def compare(a: Expr, b: Expr, seeds: int) -> Iterator[bool]:
    """Whether two programs agree, on one small network after another where no value is unclear."""
    whole = levels.CONFIGURATION in (a.level, b.level)
    for seed in range(seeds):
        layers = network(seed, 3 if whole else 1, constant=seed % 4 == 3)
        try:
            yield close(evaluate(a, *layers), evaluate(b, *layers))
        except Unclear:
            continue


def evaluate(expr: Expr, *layers: Mapping[str, Value]) -> Value:
    """One layer's value, or that of a configuration of several. Raises Unclear.

    layers  for each, numbers, or lists of rows (activations and images: one row)
    """
    if expr.level != levels.CONFIGURATION:
        return _layer_value(expr, layers[0])
    return joined(expr, [terms(expr, inputs) for inputs in layers])


def terms(expr: Expr, inputs: Mapping[str, Value]) -> dict[bytes, Value]:
    """What one layer adds to each total of a configuration's program. Raises Unclear."""
    return {
        node.digest: _layer_value(node.args[0], inputs)
        for node in walk([expr], _above_layers)
        if node.op == "total"
    }


def joined(expr: Expr, layers: Sequence[Mapping[bytes, Value]]) -> Value:
    """The value of a configuration's program from the terms of its layers. Raises Unclear."""
    values: dict[bytes, Value] = {}
    for node in walk([expr], _above_layers):
        if node.op == "total":
            value = _each(_sum, *(layer[node.digest] for layer in layers))
        elif node.op == LITERAL:
            value = _mpf(node.number)
        else:
            value = _apply(node, [values[arg.digest] for arg in node.args])
        values[node.digest] = value
    return values[expr.digest]


def _above_layers(node: Expr) -> tuple[Expr, ...]:
    return () if node.op == "total" else node.args


def _layer_value(expr: Expr, inputs: Mapping[str, Value]) -> Value:
    def value(node: Expr, args: list[Value]) -> Value:
        if node.op == LITERAL:
            return _mpf(node.number)
        if node.op != INPUT:
            return _apply(node, args)
        read = inputs[str(node.value)]
        return [[*map(_mpf, row)] for row in read] if isinstance(read, list) else _mpf(read)

    return fold(expr, value)


def _apply(node: Expr, args: list[Value]) -> Value:
    if node.op in _REDUCE:
        values = [x for row in args[0] for x in row]
        return _ordinary(_REDUCE[node.op](values))
    if node.op in _COMPOSITE:
        return _COMPOSITE[node.op](args[0])
    if node.op in _MATRIX:
        return _MATRIX[node.op](*args)
    scalar = _BINARY.get(node.op) or _UNARY.get(node.op) or (lambda x: _power(x, node.number))
    return _each(scalar, *args)


def _each(scalar: Callable[..., Any], *args: Value) -> Value:
    tensors = [arg for arg in args if isinstance(arg, list)]
    if not tensors:
        return _ordinary(scalar(*args))
    shape = [(i, len(row)) for i, row in enumerate(tensors[0])]
    return [
        [_ordinary(scalar(*(_cell(arg, i, j) for arg in args))) for j in range(width)]
        for i, width in shape
    ]


def _cell(arg: Value, i: int, j: int) -> Any:
    return arg[i][j] if isinstance(arg, list) else arg


def _ordinary(x: Any) -> Any:
    if x and not _SMALL < abs(x) < _LARGE:
        raise Unclear
    return x


def _sum(*values: Any) -> Any:
    """A sum, of which nothing may be left but the rounding of literals."""
    total = sum(values)
    return total if abs(total) > _ROUNDING else _mpf(0)


def _power(x: Any, c: float) -> Any:
    if c == 0:
        return _mpf(1)
    if c != int(c):
        return x**c if x > 0 else _mpf(0)
    return x ** int(c) if x or c > 0 else _mpf(0)


def _inv(x: Any) -> Any:
    return 1 / x if x else _mpf(0)


def _mean(values: list[Any]) -> Any:
    return _sum(*values) / len(values)


def _var(values: list[Any]) -> Any:
    mean = _mean(values)
    return sum(_sum(x, -mean) ** 2 for x in values) / len(values)


def _root(x: Any) -> Any:
    return CONTEXT.sqrt(x) if x > 0 else _mpf(0)


def _exp(x: Any) -> Any:
    return CONTEXT.exp(min(x, _mpf(10) ** 6))


_UNARY: dict[str, Callable[[Any], Any]] = {
    "neg": lambda x: -x,
    "abs": abs,
    "sign": CONTEXT.sign,
    "relu": lambda x: max(x, _mpf(0)),
    "inv": _inv,
    "sqrt": _root,
    "log": lambda x: _sum(CONTEXT.log(x)) if x > 0 else _mpf(0),
    "exp": _exp,
    "sigmoid": lambda x: 1 / (1 + _exp(-x)),
}
_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": _sum,
    "sub": lambda x, y: _sum(x, -y),
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x * _inv(y),
}
_REDUCE: dict[str, Callable[[list[Any]], Any]] = {
    "sum": lambda v: _sum(*v),
    "mean": _mean,
    "std": lambda v: _root(_var(v)),
    "var": _var,
    "min": min,
    "max": max,
    "l1": lambda v: sum(map(abs, v)),
    "l2": lambda v: _root(sum(x * x for x in v)),
}


def _normalize(x: Value) -> Value:
    values = [v for row in x for v in row]
    mean, scale = _mean(values), _inv(_REDUCE["std"](values))
    return _each(lambda v: _sum(v, -mean) * scale, x)


def _min_max(x: Value) -> Value:
    values = [v for row in x for v in row]
    low, scale = min(values), _inv(_sum(max(values), -min(values)))
    return _each(lambda v: _sum(v, -low) * scale, x)


def _matmul(x: Value, y: Value) -> Value:
    return [[_ordinary(_sum(*map(mul, left, right))) for right in y] for left in x]


def _softmax(x: Value) -> Value:
    columns = [[_exp(v - max(column)) for v in column] for column in zip(*x, strict=True)]
    shares = [[v / sum(column) for v in column] for column in columns]
    return [list(row) for row in zip(*shares, strict=True)]


def _slogdet(x: Value) -> Value:
    det = abs(CONTEXT.det(CONTEXT.matrix(x)))
    return _sum(CONTEXT.log(det)) if det > _ROUNDING else _mpf(0)


_COMPOSITE: dict[str, Callable[[Value], Value]] = {
    "square": lambda x: _each(lambda v: v * v, x),
    "normalize": _normalize,
    "min_max": _min_max,
    "gram": lambda x: _matmul(x, x),
}
_MATRIX: dict[str, Callable[..., Value]] = {
    "matmul": _matmul,
    "softmax": _softmax,
    "logsoftmax": lambda x: _each(CONTEXT.log, _softmax(x)),
    "slogdet": _slogdet,
}


def close(a: Any, b: Any) -> bool:
    """Equal but for the rounding of folded literals. Numbers, or rows."""
    if isinstance(a, list) or isinstance(b, list):
        cells = [
            (x, y)
            for left, right in zip(*_alike(a, b), strict=True)
            for x, y in zip(left, right, strict=True)
        ]
        return all(close(x, y) for x, y in cells)
    return bool(abs(a - b) <= _mpf("1e-7") * (abs(a) + abs(b)) + _mpf("1e-11"))


def _alike(a: Value, b: Value) -> tuple[Value, Value]:
    """A number beside rows stands for rows of it."""
    rows = a if isinstance(a, list) else b
    return _spread(a, rows), _spread(b, rows)


def _spread(value: Value, rows: Value) -> Value:
    return value if isinstance(value, list) else [[value] * len(row) for row in rows]


assert {*_UNARY, *_BINARY, *_REDUCE, *_COMPOSITE, *_MATRIX, "pow", "total"} == OPS.keys()
