"""Tiles, whole buffers and the float64 reference agree wherever a program is well conditioned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import reference
from conditioning import FLOAT32, FLOAT64, difference, movement
from fakes import MENU, Bits, Fake, compile, fake, program
from hypothesis import HealthCheck, given, settings
from numpy.typing import NDArray
from places import PROGRAMS
from strategies import exprs, plain_exprs

from emqlang.compiler.axes import Axes
from emqlang.compiler.gpu import GpuEngine
from emqlang.compiler.run import run
from emqlang.grammar.canonical.form import canonical
from emqlang.grammar.expr import Expr, elaborate
from emqlang.grammar.files import load_file

TOLERANCE = {FLOAT32: 1e-4, FLOAT64: 1e-9}
EXCUSED = 0.05  # the most of all values that may be too ill-conditioned to be compared
MARGIN = (
    0.3  # only a few ways to round are tried: what moves nearly as far counts as ill-conditioned
)
STATISTICS = fake()


def gpu(programs: Sequence[Expr], statistics: Fake) -> NDArray[Any]:
    return run(
        compile(programs), statistics, engine=GpuEngine(statistics, Axes(statistics.choices))
    )


def check(values: NDArray[Any], expr: Expr, statistics: Fake, rounding: float) -> NDArray[np.bool_]:
    """Asserts agreement with the reference of the canonical form; returns where the program is ill-conditioned."""
    form = canonical(expr)
    expected = reference.evaluate(form, statistics)
    moves = movement(form, statistics, rounding) > MARGIN * TOLERANCE[rounding]
    off = difference(values, expected) > TOLERANCE[rounding]
    assert not (off & ~moves).any(), (expr, values, expected)
    return moves


@pytest.fixture(scope="module")
def population() -> list[Expr]:
    return [proxy.elaborated for proxy in load_file(PROGRAMS).proxies.values()]


def test_tiles_agree_with_the_reference_on_random_programs(population: list[Expr]) -> None:
    some = population[::2]
    values = run(compile(some), STATISTICS)
    excused = [check(v, p, STATISTICS, FLOAT32) for v, p in zip(values, some, strict=True)]
    assert np.mean(excused) < EXCUSED


def test_float64_paths_agree_on_random_programs_without_excuse(population: list[Expr]) -> None:
    statistics = STATISTICS.in_float64()
    expected = np.array([reference.evaluate(canonical(expr), statistics) for expr in population])
    for values in (run(compile(population), statistics), gpu(population, statistics)):
        assert difference(values, expected).max() < TOLERANCE[FLOAT64]


def cpu(programs: Sequence[Expr], statistics: Fake) -> NDArray[Any]:
    return run(compile(programs), statistics)


@pytest.mark.parametrize(
    ("strategy", "path", "statistics", "rounding"),
    [
        (plain_exprs(max_size=40), cpu, STATISTICS, FLOAT32),
        (exprs(max_size=40), cpu, STATISTICS.in_float64(), FLOAT64),
        (exprs(max_size=40), gpu, STATISTICS, FLOAT64),
    ],
    ids=["tiles in float32", "tiles in float64", "whole buffers"],
)
def test_paths_agree_on_anything_well_kinded(
    strategy: Any, path: Any, statistics: Fake, rounding: float
) -> None:
    excused = []

    @settings(
        max_examples=150,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(strategy.map(elaborate))
    def agree(expr: Expr) -> None:
        excused.append(check(path([expr], statistics)[0], expr, statistics, rounding))

    agree()
    assert np.mean(excused) < EXCUSED


def test_a_value_that_no_choice_changes_is_the_same_in_all_rows() -> None:
    (values,) = run(compile([program("bits * mean(abs(w))")]), STATISTICS)
    assert np.array_equal(values[0], values[1])
    assert np.array_equal(values[2], 2 * values[0])


@pytest.mark.parametrize(
    "text", ["mean(square(qerr)) * act_qerr", "act_qerr + kl", "mean(relu(qerr * act_bits))"]
)
def test_rows_follow_the_axes_of_a_menu(text: str) -> None:
    expr = program(text)
    values = run(compile([expr]), STATISTICS)[0]
    np.testing.assert_allclose(values, reference.evaluate(expr, STATISTICS), rtol=1e-6)


def test_a_menu_without_activation_bits() -> None:
    statistics = fake(choices=(Bits(2), Bits(3)))
    expr = program("mean(square(qerr)) * act_bits")
    np.testing.assert_allclose(
        run(compile([expr]), statistics)[0], reference.evaluate(expr, statistics), rtol=1e-6
    )


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
    for values in (run(compile([expr]), statistics), gpu([expr], statistics)):
        np.testing.assert_allclose(values[0], expected, rtol=1e-9)


def test_a_singular_matrix_has_log_determinant_0() -> None:
    statistics = fake(shapes={"tall": (9, 4), "zero": (3, 5)})
    statistics.array("w")[36:] = 0
    expr = program("slogdet(gram(w))")
    assert not run(compile([expr]), statistics).any()
    assert not reference.evaluate(expr, statistics).any()


def test_eq5_on_the_shapes_of_resnet18() -> None:
    """Against numpy alone, in float64."""
    stages = [(64, 64), (64, 128), (128, 256), (256, 512)]
    shapes: dict[str, tuple[int, ...]] = {"conv1": (64, 3, 7, 7), "fc": (1000, 512)}
    for i, (before, after) in enumerate(stages):
        shapes |= {f"{i}.0": (after, before, 3, 3)} | {
            f"{i}.{j}": (after, after, 3, 3) for j in (1, 2, 3)
        }
        shapes |= {f"{i}.downsample": (after, before, 1, 1)} if before != after else {}
    rng = np.random.default_rng(7)
    offsets = {
        "weight": [0, *np.cumsum([int(np.prod(shape)) for shape in shapes.values()]).tolist()]
    }
    size = offsets["weight"][-1]
    w = rng.standard_normal(size, np.float32) * np.float32(0.03)
    synflow = rng.standard_normal(size, np.float32) ** 2 * 1e3
    bits = np.array([[2.0] * len(shapes), [4.0] * len(shapes)])
    base = replace(
        STATISTICS,
        shapes=shapes,
        offsets=offsets,
        totals={"weight": np.diff(offsets["weight"]).tolist()},
    )
    eq5 = program("log(abs(grad_synflow)) * sqrt(mean(abs(w)))")
    for dtype in (np.float32, np.float64):
        arrays = {"w": w, "grad_synflow": synflow.astype(dtype), "bits": bits}
        statistics = replace(base.with_arrays(**arrays), choices=(MENU[0], MENU[2]))
        (values,) = run(compile([eq5]), statistics)
        for layer, (start, stop) in enumerate(
            zip(offsets["weight"], offsets["weight"][1:], strict=False)
        ):
            logs = np.log(np.abs(arrays["grad_synflow"][start:stop].astype(np.float64)))
            root = np.sqrt(np.mean(np.abs(w[start:stop].astype(np.float64))))
            np.testing.assert_allclose(
                values[:, layer], bits[:, layer] * np.mean(logs * root), rtol=1e-5
            )
