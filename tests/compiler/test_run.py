"""A value is a function of its key and the statistics: the same bits whatever is around it."""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import blake2b

import numpy as np
import pytest
from fakes import compile, program
from places import FIXTURES
from populations import BIG, SMALL, Array, same

from emqlang.compiler.run import run
from emqlang.grammar.canonical.form import key
from emqlang.grammar.expr import Expr
from emqlang.grammar.levels import CONFIGURATION


def test_threads_change_no_bit(some: list[Expr], values: Array) -> None:
    for threads in (2, 3):
        assert same(run(compile(some), BIG, threads=threads), values)


def test_company_changes_no_bit(population: list[Expr], some: list[Expr], values: Array) -> None:
    for at in range(0, len(some), 10):
        assert same(run(compile([some[at]]), BIG, threads=1)[0], values[at])
    together = run(compile(population), SMALL)
    for one, row in zip(population, together, strict=True):
        assert same(run(compile([one]), SMALL, threads=1)[0], row)


def test_order_changes_no_bit(some: list[Expr], values: Array) -> None:
    assert same(run(compile(some[::-1]), BIG)[::-1], values)


SCRIPT = """
from hashlib import blake2b
from populations import SMALL, population
from emqlang.compiler.plan import compile
from emqlang.compiler.run import run
print(blake2b(run(compile(population()[::4]), SMALL).tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_processes_change_no_bit(population: list[Expr]) -> None:
    here = blake2b(run(compile(population[::4]), SMALL).tobytes()).hexdigest()
    path = os.pathsep.join(sys.path)
    for number in ("1", "2"):
        hashing = {"PYTHONHASHSEED": number, "OMP_NUM_THREADS": number, "PYTHONPATH": path}
        there = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, **hashing},
            capture_output=True,
            text=True,
            check=True,
        )
        assert there.stdout.strip() == here


def equal_programs() -> list[tuple[Expr, Expr]]:
    lines = (line.split("#")[0] for line in (FIXTURES / "equal.txt").read_text().splitlines())
    return [
        (program(left), program(right))
        for left, _, right in (line.partition(";") for line in lines)
        if right
    ]


def test_spelling_changes_no_bit() -> None:
    pairs = equal_programs()
    assert [key(expr) for expr, _ in pairs] == [key(expr) for _, expr in pairs]
    layers = [pair for pair in pairs if CONFIGURATION not in (expr.level for expr in pair)]
    assert len(layers) > 50
    left, right = ([pair[side] for pair in layers] for side in (0, 1))
    for statistics in (SMALL, SMALL.in_float64()):
        assert same(run(compile(left), statistics), run(compile(right), statistics))


def test_sampled_activations_know_their_true_count() -> None:
    """A sum is total * mean: where one of 3 values was kept, three times the sum of the kept."""
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
