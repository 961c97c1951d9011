"""The paper's operations as its authors coded them (LPZero): float32, with epsilons and refusals.

They are pure, where the authors' write into their arguments. Weights have the shape of their layer;
activations are sampled elements.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from emqlang.compiler.statistics import on_host
from emqlang.evolve.arena import Benchmark
from emqlang.evolve.emq.genes import BINARY, NODES, UNARY, Genes
from emqlang.grammar.inputs import INPUTS, Kind

Array = NDArray[np.float32]
EPSILON = np.float32(1e-9)
LARGEST = 1 << 24  # elements of a Gram matrix, beyond which the authors ran out of memory


class Refused(Exception):
    """An operation does not take these operands, as torch says by raising."""


def values(genes: Genes, benchmark: Benchmark) -> NDArray[np.float64]:
    """Q (layers,): NaN for a layer that an operation refuses."""
    layers = range(len(benchmark.statistics.layers))
    each = [_value(genes, benchmark, layer) for layer in layers]
    return np.array([np.nan if value is None else value for value in each])


def refused(genes: Genes, benchmark: Benchmark) -> bool:
    """Whether an operation refuses its operands in some layer."""
    layers = range(len(benchmark.statistics.layers))
    return any(_value(genes, benchmark, layer) is None for layer in layers)


def _value(genes: Genes, benchmark: Benchmark, layer: int) -> float | None:
    inputs = [_input(benchmark, name, layer) for name in genes.inputs]
    try:
        with np.errstate(all="ignore"):
            return float(_FORWARD[genes.structure](genes, inputs))
    except Refused:
        return None


def _input(benchmark: Benchmark, name: str, layer: int) -> Array:
    kind, statistics = INPUTS[name].kind, benchmark.statistics
    values = on_host(statistics.array(name))
    if kind is Kind.LAYER:
        return np.float32(values[layer])  # type: ignore[return-value]
    start, stop = statistics.offsets[kind][layer : layer + 2]
    flat: Array = values[start:stop].astype(np.float32)
    return flat.reshape(benchmark.shapes[layer]) if kind is Kind.WEIGHT else flat


def _sequential(genes: Genes, inputs: Sequence[Array]) -> Any:
    return _chain(genes, genes.unary, inputs[0])


def _branched(genes: Genes, inputs: Sequence[Array]) -> Any:
    """Both branches become floats before they meet."""
    left, right = (
        _chain(genes, names, x)
        for names, x in zip((genes.unary[:2], genes.unary[2:]), inputs, strict=True)
    )
    return OPERATIONS[genes.binary](np.float32(left), np.float32(right))


def _chain(genes: Genes, names: Sequence[str], x: Array) -> Any:
    return _aggregate(genes, reduce(lambda x, name: OPERATIONS[name](x), names, x))


def _dag(genes: Genes, inputs: Sequence[Array]) -> Any:
    edges, nodes = iter(genes.unary), list(inputs)
    for _ in range(NODES):
        nodes.append(
            reduce(
                OPERATIONS["element_wise_sum"], [OPERATIONS[next(edges)](node) for node in nodes]
            )
        )
    return np.mean([_aggregate(genes, node) for node in nodes[len(inputs) :]])


_FORWARD: Mapping[str, Callable[[Genes, Sequence[Array]], Any]] = {
    "sequential": _sequential,
    "branched": _branched,
    "dag": _dag,
}


def _aggregate(genes: Genes, x: Array) -> Any:
    return _AGGREGATES[genes.aggregate](x)


_AGGREGATES: Mapping[str, Callable[[Array], Any]] = {
    "mean": np.mean,
    "sum": np.sum,
    "l2": lambda x: np.sqrt(np.sum(x * x)),
    "max": np.max,
}


def _normalize(x: Array) -> Array:
    spread = np.std(x, ddof=1) if np.size(x) > 1 else np.float32(np.nan)
    result: Array = np.nan_to_num((x - np.mean(x)) / spread, nan=0.0, posinf=np.inf, neginf=-np.inf)
    return result


def _softmax(x: Array) -> Array:
    if np.ndim(x) == 0:
        return np.float32(1)  # type: ignore[return-value]
    e = np.exp(x - np.max(x, axis=0))
    result: Array = e / np.sum(e, axis=0)
    return result


def _logsoftmax(x: Array) -> Array:
    if np.ndim(x) == 0:
        return np.float32(0)  # type: ignore[return-value]
    shifted = x - np.max(x, axis=0)
    result: Array = shifted - np.log(np.sum(np.exp(shifted), axis=0))
    return result


def _gram(x: Array) -> Array:
    if np.ndim(x) != 4:
        raise Refused
    rows = x.shape[0] * x.shape[1]
    if rows * rows > LARGEST:
        raise Refused
    flat = x.reshape(rows, -1)
    result: Array = flat @ flat.T / np.float32(x.size)
    return result


def _slogdet(x: Array) -> Array:
    if np.ndim(x) < 2 or x.shape[-1] != x.shape[-2]:
        raise Refused
    result: Array = np.linalg.slogdet(x)[1]
    return result


def _matmul(x: Array, y: Array) -> Array:
    if np.ndim(x) == 0 or np.ndim(y) == 0:
        raise Refused
    try:
        result: Array = np.matmul(x, y)
    except ValueError as reason:
        raise Refused from reason
    return result


def _broadcast(op: Callable[[Any, Any], Any]) -> Callable[[Array, Array], Array]:
    def run(x: Array, y: Array) -> Array:
        try:
            result: Array = op(x, y)
        except ValueError as reason:  # shapes that do not go together
            raise Refused from reason
        return result

    return run


OPERATIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "log": lambda x: np.log(np.where(x <= 0, np.float32(1), x)),
    "abslog": lambda x: np.log(np.where(x == 0, np.float32(1), np.abs(x))),
    "abs": np.abs,
    "pow": np.square,
    "exp": np.exp,
    "normalize": _normalize,
    "relu": lambda x: np.maximum(x, np.float32(0)),
    "invert": lambda x: 1 / (x + EPSILON),
    "frobenius_norm": lambda x: np.sqrt(np.sum(np.square(x))),
    "normalized_sum": lambda x: np.sum(x) / (np.size(x) + EPSILON),
    "l1_norm": lambda x: np.sum(np.abs(x)) / (np.size(x) + EPSILON),
    "softmax": _softmax,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "logsoftmax": _logsoftmax,
    "sqrt": lambda x: np.sqrt(np.maximum(x, np.float32(0))),
    "revert": lambda x: -x,
    "min_max_normalize": lambda x: (x - np.min(x)) / (np.max(x) - np.min(x) + EPSILON),
    "to_mean_scalar": np.mean,
    "to_std_scalar": lambda x: np.std(x, ddof=1) if np.size(x) > 1 else np.float32(np.nan),
    "no_op": lambda x: x,
    "sign": np.sign,
    "gram_matrix": _gram,
    "to_sum_scalar": np.sum,
    "slogdet": _slogdet,
    "element_wise_sum": _broadcast(np.add),
    "difference": _broadcast(np.subtract),
    "product": _broadcast(np.multiply),
    "matrix_multiplication": _matmul,
}
assert OPERATIONS.keys() == {*UNARY, *BINARY}
