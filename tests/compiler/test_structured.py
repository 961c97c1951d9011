"""Ops of whole layers: against numpy, and against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import reference
from fakes import MENU, compile, fake, program
from numpy.typing import NDArray

from emqlang.compiler.axes import Axes
from emqlang.compiler.gpu import GpuEngine
from emqlang.compiler.run import run
from emqlang.grammar.canonical.form import canonical

Array = NDArray[Any]


def _softmax(x: Array) -> Array:
    e = np.exp(x)
    return np.asarray(e / e.sum(axis=0))


WITH_NUMPY = {
    "sum(softmax(w) * grad)": lambda w, g: np.sum(_softmax(w) * g),
    "max(softmax(w))": lambda w, g: np.max(_softmax(w)),
    "mean(logsoftmax(w))": lambda w, g: np.mean(np.log(_softmax(w))),
    "l2(gram(w))": lambda w, g: np.linalg.norm(w @ w.T),
    "min(w @ grad)": lambda w, g: np.min(w @ g.T),
    "sum(softmax(w @ grad))": lambda w, g: len(w),
    "slogdet(gram(w) + gram(grad))": lambda w, g: np.linalg.slogdet(w @ w.T + g @ g.T)[1],
    "slogdet(gram(w)) - mean(w)": lambda w, g: np.linalg.slogdet(w @ w.T)[1] - np.mean(w),
}


@pytest.mark.parametrize("text", WITH_NUMPY)
def test_structured_ops_are_those_of_numpy(text: str) -> None:
    statistics = fake(shapes={"wide": (20, 300), "square": (130, 150), "conv": (6, 5, 3, 3)})
    (values,) = run(compile([program(f"bits * ({text})")]), statistics)
    for layer, rows in enumerate(statistics.rows):
        start, stop = statistics.offsets["weight"][layer : layer + 2]
        w, grad = (
            statistics.array(name).numpy()[start:stop].astype(np.float64).reshape(rows, -1)
            for name in ("w", "grad")
        )
        np.testing.assert_allclose(values[0, layer], 2 * WITH_NUMPY[text](w, grad), rtol=1e-9)


STRUCTURED = (
    "mean(w @ grad)",
    "slogdet(gram(w))",
    "slogdet(gram(w * bits) + 2)",
    "std(softmax(grad_synflow))",
    "l2(logsoftmax(qerr))",
    "sum(softmax(gram(w)))",
    "max(abs(w @ w - mean(w @ w)))",
)


@pytest.mark.parametrize("text", STRUCTURED)
def test_structured_ops_agree_closely(text: str) -> None:
    statistics = fake(shapes={"a": (70, 90), "b": (5, 3, 2, 2), "c": (3, 1)})
    expr = program(text)
    expected = reference.evaluate(canonical(expr), statistics)
    for engine in (None, GpuEngine(statistics, Axes(MENU))):
        values = run(compile([expr]), statistics, engine=engine)
        np.testing.assert_allclose(values[0], expected, rtol=1e-9)


OF_BOTH = (
    "min(slogdet(gram(w)) * act)",
    "max(act * slogdet(gram(grad)) - mean(softmax(w)))",
    "min(slogdet(gram(w)) * w)",
    "min_max(slogdet(gram(qerr)) * sigmoid(grad_act))",
    "std(relu(act * slogdet(gram(w)) + bits))",
)


@pytest.mark.parametrize("text", OF_BOTH)
def test_a_layer_value_of_a_structured_op_is_a_number_to_any_chain(text: str) -> None:
    statistics = fake(shapes={"a": (7, 90), "b": (5, 3, 2, 2), "c": (3, 1)})
    expr = program(text)
    expected = reference.evaluate(canonical(expr), statistics)
    for engine in (None, GpuEngine(statistics, Axes(MENU))):
        values = run(compile([expr]), statistics, engine=engine)
        np.testing.assert_allclose(values[0], expected, rtol=2e-6)


def test_a_singular_matrix_has_log_determinant_0() -> None:
    statistics = fake(shapes={"tall": (9, 4), "zero": (3, 5)})
    statistics.array("w")[36:] = 0
    expr = program("slogdet(gram(w))")
    assert not run(compile([expr]), statistics).any()
    assert not reference.evaluate(expr, statistics).any()
