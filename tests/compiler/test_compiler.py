"""A value is a function of its canonical key and the statistics: the same bits whatever is around it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
import torch
from conditioning import FLOAT32, FLOAT64, difference, movement
from fakes import Bits, Fake, compile, fake, program
from numpy.typing import NDArray
from places import FIXTURES, PROGRAMS

from emqlang.compiler.axes import Axes
from emqlang.compiler.cache import Cache
from emqlang.compiler.gpu import GpuEngine
from emqlang.compiler.kernels import TILE
from emqlang.compiler.run import run
from emqlang.grammar.canonical.form import canonical, key
from emqlang.grammar.expr import Expr
from emqlang.grammar.files import load_file

Array = NDArray[Any]
# layers of several tiles with a remainder, of a part of one, and of one value
BIG = fake(
    shapes={
        "wide": (16, TILE // 16 + 1001),
        "stem": (8, 3, 3, 3),
        "one": (1, 1),
        "long": (4, TILE // 2),
    },
    sampled=3000,
)
SMALL = fake()


@pytest.fixture(scope="module")
def population() -> list[Expr]:
    return [proxy.elaborated for proxy in load_file(PROGRAMS).proxies.values()]


@pytest.fixture(scope="module")
def values(population: list[Expr]) -> Array:
    """On the big statistics, all 1,000 at once, cold, on one thread."""
    return run(compile(population), BIG, threads=1)


def same(a: Array, b: Array) -> bool:
    return a.tobytes() == b.tobytes()


@pytest.mark.slow
def test_threads_change_no_bit(population: list[Expr], values: Array) -> None:
    for threads in (2, 3):
        assert same(run(compile(population), BIG, threads=threads), values)


def test_a_warm_cache_changes_no_bit(population: list[Expr], values: Array) -> None:
    cache = Cache()
    assert same(run(compile(population[500:]), BIG, cache), values[500:])
    assert same(run(compile(population[:700]), BIG, cache), values[:700])
    misses = cache.misses
    assert same(run(compile(population), BIG, cache), values)
    assert (cache.misses, cache.hits > 1000) == (misses, True)


def test_company_changes_no_bit(population: list[Expr], values: Array) -> None:
    for at in range(0, len(population), 25):
        assert same(run(compile([population[at]]), BIG, threads=1)[0], values[at])
    together = run(compile(population), SMALL)
    for one, row in zip(population, together, strict=True):
        assert same(run(compile([one]), SMALL, threads=1)[0], row)


def test_order_changes_no_bit(population: list[Expr], values: Array) -> None:
    assert same(run(compile(population[::-1]), BIG)[::-1], values)


SCRIPT = """
from test_compiler import SMALL, compile, digest, load_file, PROGRAMS, run
programs = [proxy.elaborated for proxy in load_file(PROGRAMS).proxies.values()]
print(digest(run(compile(programs), SMALL)))
"""


def digest(values: Array) -> str:
    return blake2b(values.tobytes()).hexdigest()


@pytest.mark.slow
def test_processes_change_no_bit(population: list[Expr]) -> None:
    here = digest(run(compile(population), SMALL))
    for seed, threads in (("1", "1"), ("2", "2")):
        environment = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "OMP_NUM_THREADS": threads,
            "PYTHONPATH": os.pathsep.join((str(Path(__file__).parent), *sys.path)),
        }
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == here


def equal_programs() -> list[tuple[Expr, Expr]]:
    lines = (line.split("#")[0] for line in (FIXTURES / "equal.txt").read_text().splitlines())
    return [
        (program(left), program(right))
        for left, _, right in (line.partition(";") for line in lines)
        if right
    ]


def test_spelling_changes_no_bit() -> None:
    pairs = equal_programs()
    assert len(pairs) > 50
    left, right = ([pair[side] for pair in pairs] for side in (0, 1))
    assert [key(expr) for expr in left] == [key(expr) for expr in right]
    for statistics in (SMALL, SMALL.in_float64()):
        assert same(run(compile(left), statistics), run(compile(right), statistics))


def test_a_cache_that_is_full_forgets_and_changes_no_bit(population: list[Expr]) -> None:
    expected = run(compile(population), SMALL)
    cache = Cache(capacity=20_000)
    for start in range(0, len(population), 100):
        part = slice(start, start + 100)
        assert same(run(compile(population[part]), SMALL, cache), expected[part])
        assert cache.bytes <= cache.capacity
    assert 0 < len(cache) < 60
    assert same(run(compile(population), SMALL, cache), expected)
    cache.clear()
    assert (len(cache), cache.bytes) == (0, 0)


def test_what_is_cached_is_told_apart_by_statistics_and_bits() -> None:
    expr = program("std(qerr) * mean(w)")
    cache = Cache()
    other = replace(fake(seed=1), fingerprint="other")
    for statistics in (SMALL, other):
        assert same(run(compile([expr]), statistics, cache), run(compile([expr]), statistics))
    turned = replace(
        SMALL.with_arrays(qerr=SMALL.array("qerr").numpy()[::-1].copy()), choices=(Bits(4), Bits(2))
    )
    four, two = run(compile([expr]), turned, cache)[0]
    assert same(two, run(compile([expr]), SMALL)[0, 0])
    assert same(four, run(compile([expr]), SMALL)[0, 2])


def test_results_may_be_written_to() -> None:
    cache = Cache()
    plan = compile([program("mean(qerr)"), program("bits")])
    first = run(plan, SMALL, cache)
    expected = first.copy()
    first[:] = 0
    assert same(run(plan, SMALL, cache), expected)


# degenerate layers


CONSTANT = [
    ("bits * mean(w)", lambda c, n: c),
    ("bits * sum(w)", lambda c, n: c * n),
    ("bits * min(w)", lambda c, n: c),
    ("bits * max(w)", lambda c, n: c),
    ("bits * l1(w)", lambda c, n: abs(c) * n),
    ("bits * l2(w) ** 2", lambda c, n: c * c * n),
    ("bits * var(w)", lambda c, n: 0),
    ("bits * std(w * numel)", lambda c, n: 0),
    ("bits * mean(normalize(w))", lambda c, n: 0),
    ("bits * l1(min_max(w))", lambda c, n: 0),
    ("bits * max(abs(w - mean(w)))", lambda c, n: 0),
    ("bits * mean(log(abs(w)))", lambda c, n: np.log(abs(c)) if c else 0),
    ("bits * mean(inv(w))", lambda c, n: 1 / c if c else 0),
]


@pytest.mark.parametrize("constant", [0.1, -0.3, 1e-20, -3e15, 0.0])
@pytest.mark.parametrize(("text", "expected"), CONSTANT, ids=[text for text, _ in CONSTANT])
def test_layers_of_equal_weights(constant: float, text: str, expected: Any) -> None:
    """Of one weight, of a few and of more than a tile; what is exact in the reals is exact here."""
    shapes = {"one": (1, 1), "few": (7, 3), "tile": (2, TILE // 2), "more": (3, TILE // 2 + 5)}
    base = fake(shapes=shapes, choices=(Bits(2),))
    stored = np.float32(constant)
    statistics = base.with_arrays(w=np.full(base.offsets["weight"][-1], stored))
    numel = np.array(base.totals["weight"], np.float64)
    wanted = 2 * np.array([expected(float(stored), n) for n in numel])
    for stored_as in (statistics, statistics.in_float64()):
        for engine in (None, GpuEngine(stored_as, Axes(stored_as.choices))):
            (values,) = run(compile([program(text)]), stored_as, engine=engine)
            np.testing.assert_allclose(values[0], wanted, rtol=1e-6)


def test_a_layer_of_one_weight(population: list[Expr]) -> None:
    statistics = fake(shapes={"one": (1, 1), "two": (2, 1)}, sampled=1).in_float64()
    for values, expr in zip(
        run(compile(population[::10]), statistics), population[::10], strict=True
    ):
        form = canonical(expr)
        unclear = movement(form, statistics, FLOAT64) > 1e-10
        assert not (difference(values, reference.evaluate(form, statistics)) > 1e-9)[~unclear].any()


# overflow


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


# sampled activations, structured ops, GPU


def test_sampled_activations_know_their_true_count() -> None:
    """A sum is total * mean: of 3 values of which 1 was kept, three times the sum of what was kept."""
    act = [SMALL.array("act").numpy()[i * 50 : i * 50 + 50].astype(np.float64) for i in range(3)]
    kept = {
        "sum(act)": [3 * np.sum(x) for x in act],
        "l1(act)": [3 * np.sum(abs(x)) for x in act],
        "l2(act)": [np.sqrt(3 * np.sum(x * x)) for x in act],
        "sum(act + 2)": [3 * np.sum(x + 2) for x in act],
        "sum(2 * act) / sum(act ** 0)": [2 * np.mean(x) for x in act],
        "mean(act)": [np.mean(x) for x in act],
        "var(act)": [np.var(x) for x in act],
    }
    values = run(compile([program(f"bits * ({text})") for text in kept]), SMALL)
    np.testing.assert_allclose(values[:, 0], 2 * np.array(list(kept.values())), rtol=1e-5)


def _softmax(x: Array) -> Array:
    e = np.exp(x)
    return np.asarray(e / e.sum(axis=0))


STRUCTURED = {
    "sum(softmax(w) * grad)": lambda w, g: np.sum(_softmax(w) * g),
    "max(softmax(w))": lambda w, g: np.max(_softmax(w)),
    "mean(logsoftmax(w))": lambda w, g: np.mean(np.log(_softmax(w))),
    "l2(gram(w))": lambda w, g: np.linalg.norm(w @ w.T),
    "min(w @ grad)": lambda w, g: np.min(w @ g.T),
    "sum(softmax(w @ grad))": lambda w, g: len(w),
    "slogdet(gram(w) + gram(grad))": lambda w, g: np.linalg.slogdet(w @ w.T + g @ g.T)[1],
    "slogdet(gram(w)) - mean(w)": lambda w, g: np.linalg.slogdet(w @ w.T)[1] - np.mean(w),
}


@pytest.mark.parametrize("text", STRUCTURED)
def test_structured_ops_are_those_of_numpy(text: str) -> None:
    statistics = fake(shapes={"wide": (20, 300), "square": (130, 150), "conv": (6, 5, 3, 3)})
    (values,) = run(compile([program(f"bits * ({text})")]), statistics)
    for layer, rows in enumerate(statistics.rows):
        start, stop = statistics.offsets["weight"][layer : layer + 2]
        w, grad = (
            statistics.array(name).numpy()[start:stop].astype(np.float64).reshape(rows, -1)
            for name in ("w", "grad")
        )
        np.testing.assert_allclose(values[0, layer], 2 * STRUCTURED[text](w, grad), rtol=1e-9)


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
