"""The levels of identity, each on its own, and how far each sees."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from strategies import plain_exprs

from emqlang.grammar import parse
from emqlang.grammar.canonical.form import canonical
from emqlang.grammar.expr import Expr, apply, elaborate
from emqlang.grammar.inputs import Kind
from emqlang.grammar.proof.equivalence import (
    Verdict,
    by_fingerprint,
    by_graph,
    by_key,
    by_sympy,
    compare,
)

SAME, DIFFERENT, OPPOSITE, UNKNOWN = Verdict


def read(*texts: str) -> list[Expr]:
    return [parse(text).elaborated for text in texts]


@pytest.mark.parametrize(
    ("a", "b", "key", "graph", "fingerprint", "sympy"),
    [
        ("w * numel", "numel * w", SAME, SAME, SAME, SAME),
        ("log(w ** 2)", "2 * log(abs(w))", SAME, UNKNOWN, SAME, SAME),
        ("(numel + 1) ** 2", "numel ** 2 + 2 * numel + 1", UNKNOWN, UNKNOWN, SAME, SAME),
        ("w - grad", "grad - w", UNKNOWN, UNKNOWN, OPPOSITE, UNKNOWN),
        ("w * inv(w)", "1 + 0 * w", UNKNOWN, UNKNOWN, DIFFERENT, UNKNOWN),
        ("mean(w)", "mean(w) + 0 * numel", SAME, UNKNOWN, SAME, SAME),
        ("numel", "fan_in", UNKNOWN, UNKNOWN, DIFFERENT, UNKNOWN),
    ],
)
def test_each_level_sees_what_it_can(
    a: str, b: str, key: str, graph: str, fingerprint: str, sympy: str
) -> None:
    found = compare(*read(a, b), seconds=30)
    assert [level.verdict for level in found] == [key, graph, fingerprint, sympy]


def test_a_constant_for_each_group_moves_all_configurations_alike() -> None:
    """It changes the scores and no ranking, so the fingerprint does not see it."""
    level = by_fingerprint(*read("bits * mean(abs(w))", "bits * mean(abs(w)) + numel"))
    assert level.verdict is SAME and not level.proof


@given(plain_exprs(kinds=(Kind.LAYER,), max_ops=8, max_size=30))
@settings(max_examples=60)
def test_a_program_is_what_its_canonical_form_is(expr: Expr) -> None:
    program = elaborate(expr)
    form = canonical(program)
    assert by_key(program, form).verdict is SAME
    assert by_graph(program, program).proof
    assert by_fingerprint(program, form).verdict in (SAME, UNKNOWN)


@given(plain_exprs(kinds=(Kind.LAYER,), max_ops=6, max_size=20))
@settings(max_examples=40)
def test_the_negative_is_the_opposite(expr: Expr) -> None:
    program = elaborate(expr)
    assert by_fingerprint(program, apply("neg", program)).verdict in (
        OPPOSITE,
        SAME,
        UNKNOWN,
    )  # SAME where nothing depends on the choice


def test_sympy_that_is_stopped_says_so() -> None:
    level = by_sympy(*read("w", "w"), seconds=0.01)
    assert level.verdict is UNKNOWN and "not done" in level.detail
