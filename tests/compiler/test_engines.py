"""The engines and the float64 reference agree wherever a program is well conditioned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import reference
import torch
from conditioning import FLOAT32, FLOAT64, difference, movement
from fakes import MENU, Fake, compile, program
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from populations import SMALL, same
from strategies import LAYERS, exprs, plain_exprs

from emqlang.compiler.axes import Axes
from emqlang.compiler.gpu import GpuEngine
from emqlang.compiler.run import run
from emqlang.grammar.canonical.form import canonical
from emqlang.grammar.expr import Expr, elaborate

TOLERANCE = {FLOAT32: 1e-4, FLOAT64: 1e-9}
EXCUSED = 0.05  # the most of all values that may be too ill-conditioned to be compared
MARGIN = 0.3  # few ways to round are tried: what moves nearly as far counts as ill-conditioned


def cpu(programs: Sequence[Expr], statistics: Fake) -> NDArray[Any]:
    return run(compile(programs), statistics)


def gpu(programs: Sequence[Expr], statistics: Fake) -> NDArray[Any]:
    engine = GpuEngine(statistics, Axes(statistics.choices))
    return run(compile(programs), statistics, engine=engine)


def check(values: NDArray[Any], expr: Expr, statistics: Fake, rounding: float) -> NDArray[np.bool_]:
    """Asserts agreement with the reference; returns where the program is ill-conditioned."""
    form = canonical(expr)
    expected = reference.evaluate(form, statistics)
    moves = movement(form, statistics, rounding) > MARGIN * TOLERANCE[rounding]
    off = difference(values, expected) > TOLERANCE[rounding]
    assert not (off & ~moves).any(), (expr, values, expected)
    return moves


def test_float32_agrees_with_the_reference_on_random_programs(population: list[Expr]) -> None:
    some = population[::2]
    values = run(compile(some), SMALL)
    excused = [check(v, p, SMALL, FLOAT32) for v, p in zip(values, some, strict=True)]
    assert np.mean(excused) < EXCUSED


def test_float64_agrees_on_random_programs_without_excuse(population: list[Expr]) -> None:
    statistics = SMALL.in_float64()
    expected = np.array([reference.evaluate(form, statistics) for form in population])
    for values in (cpu(population, statistics), gpu(population, statistics)):
        assert difference(values, expected).max() < TOLERANCE[FLOAT64]


@pytest.mark.parametrize(
    ("strategy", "engine", "statistics", "rounding"),
    [
        (plain_exprs(max_size=40, of=LAYERS), cpu, SMALL, FLOAT32),
        (exprs(max_size=40, of=LAYERS), cpu, SMALL.in_float64(), FLOAT64),
        (exprs(max_size=40, of=LAYERS), gpu, SMALL, FLOAT64),
    ],
    ids=["cpu in float32", "cpu in float64", "gpu"],
)
@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_engines_agree_on_anything_well_kinded(
    data: st.DataObject,
    strategy: Any,
    engine: Any,
    statistics: Fake,
    rounding: float,
    excused: list[NDArray[np.bool_]],
) -> None:
    expr = elaborate(data.draw(strategy))
    excused.append(check(engine([expr], statistics)[0], expr, statistics, rounding))


@pytest.fixture
def excused() -> Iterator[list[NDArray[np.bool_]]]:
    """Where all examples of a test were ill-conditioned: few may be."""
    examples: list[NDArray[np.bool_]] = []
    yield examples
    assert np.mean(examples or [False]) < EXCUSED


OVERFLOWS = (
    "sum(exp(abs(w) * 100))",
    "inv(sum(exp(abs(w) * 100)))",
    "sigmoid(mean(exp(abs(w) * 100)))",
    "-var(w ** 301)",
    "l2(exp(exp(exp(w)))) * depth",
)


@pytest.mark.parametrize("text", OVERFLOWS)
def test_an_overflow_is_shown(text: str) -> None:
    """Where it happens and nowhere else, however it is used afterwards."""
    place = SMALL.offsets["weight"][1] + 7
    w = np.where(np.arange(SMALL.offsets["weight"][-1]) == place, 12.0, 0.1).astype(np.float32)
    statistics = SMALL.with_arrays(w=w)
    for engine in (None, GpuEngine(statistics, Axes(statistics.choices))):
        (values,) = run(compile([program(text)]), statistics, engine=engine)
        assert np.isfinite(values).tolist() == [[True, False, True]] * 3


WIDE = (
    "mean(exp(w * 40))",
    "std(w ** 14 * 10 ** 30)",
    "sum(w ** 16) / sum(w ** 14)",
    "mean(inv(w) ** 9)",
)


@pytest.mark.parametrize("text", WIDE)
def test_what_float32_cannot_hold_is_done_in_float64(text: str) -> None:
    """Beyond 3e38 and below 1e-38, in some layers."""
    scale = np.repeat([1e-4, 1.0, 5.0], np.diff(SMALL.offsets["weight"]))
    statistics = SMALL.with_arrays(w=(SMALL.array("w").numpy() * scale).astype(np.float32))
    (values,) = run(compile([program(text)]), statistics)
    assert np.isfinite(values).all()
    np.testing.assert_allclose(values, reference.evaluate(program(text), statistics), rtol=1e-4)


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
        SMALL,
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


def on_gpu(statistics: Fake) -> Fake:
    cuda = torch.device("cuda")
    return replace(
        statistics,
        device=cuda,
        arrays={name: array.to(cuda) for name, array in statistics.arrays.items()},
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_agrees_and_repeats_itself(population: list[Expr]) -> None:
    some = population[::5]
    together = run(compile(some), on_gpu(SMALL))
    for values, expr in zip(together, some, strict=True):
        form = canonical(expr)
        unclear = movement(form, SMALL, FLOAT32) > 3e-5
        assert not (difference(values, reference.evaluate(form, SMALL)) > 1e-4)[~unclear].any()
        assert same(run(compile([expr]), on_gpu(SMALL))[0], values)
