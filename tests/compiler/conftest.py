"""Fixtures of the compiler's tests."""

from __future__ import annotations

import populations
import pytest
from fakes import compile
from populations import BIG, Array

from emqlang.compiler.run import run
from emqlang.grammar.expr import Expr


@pytest.fixture(scope="session")
def population() -> list[Expr]:
    return populations.population()


@pytest.fixture(scope="session")
def some(population: list[Expr]) -> list[Expr]:
    """Fewer programs, for layers of several tiles."""
    return population[::3]


@pytest.fixture(scope="session")
def values(some: list[Expr]) -> Array:
    """Those on the big statistics, all at once, cold, on one thread."""
    return run(compile(some), BIG, threads=1)
