"""What sympy says is true under the protected meaning, is never larger, and comes in time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import LAYERS, plain_exprs

from emqlang.grammar import parse, show
from emqlang.grammar.canonical.form import canonical
from emqlang.grammar.diagnostics import EmqError
from emqlang.grammar.expr import Expr
from emqlang.grammar.inputs import Kind
from emqlang.grammar.proof import algebra
from emqlang.grammar.proof.exact import compare


def read(text: str) -> Expr:
    return parse(text).expr


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("numel * fan_in + numel * depth", "numel * (fan_in + depth)"),
        ("sqrt(numel ** 2 + 2 * numel + 1)", "numel + 1"),
        ("log(numel * bits) - log(numel)", "log(bits)"),
        ("mean(w * (numel ** 2 - 2 * numel + 1))", "mean(w) * (numel - 1) ** 2"),
    ],
)
def test_sympy_makes_it_smaller(text: str, expected: str) -> None:
    found = algebra.simplify(read(text))
    assert canonical(found) == canonical(read(expected)), show(found)


@pytest.mark.parametrize(
    "text",
    ["w * inv(w)", "exp(log(abs(w)))", "sqrt(w) * sqrt(w)", "log(w * grad)", "abs(w) / abs(w)"],
)
def test_what_a_protection_guards_stays(text: str) -> None:
    assert algebra.simplify(read(text)) == canonical(read(text))


@pytest.mark.parametrize(
    ("a", "b", "proven"),
    [
        ("(numel + 1) ** 2", "numel ** 2 + 2 * numel + 1", True),
        ("log(numel * bits)", "log(numel) + log(bits)", True),
        ("mean((w + 1) ** 2)", "mean(w ** 2) + 2 * mean(w) + 1", True),
        ("w * inv(w)", "1 + 0 * w", False),
        ("log(w ** 2)", "2 * log(w)", False),
        ("mean(w)", "mean(grad)", False),
    ],
)
def test_a_proof(a: str, b: str, proven: bool) -> None:
    assert algebra.prove(read(a), read(b)) is proven


def test_time_runs_out() -> None:
    with pytest.raises(EmqError, match="not done after") as stopped:
        algebra.simplify(read("w"), seconds=0.01)
    assert stopped.value.diagnostics[0].code == "E502"
    assert algebra.prove(read("w"), read("w"), seconds=0.01) is None


WHOLE = st.sampled_from([-1.0, 0.5, 2.0])  # sympy may take hours over odd exponents and literals


@given(
    plain_exprs(
        kinds=(Kind.LAYER, Kind.WEIGHT),
        of=LAYERS,
        max_ops=6,
        max_size=14,
        exponents=WHOLE,
        literals=WHOLE,
    )
)
@settings(max_examples=25)
def test_the_smallest_form_means_the_same(expr: Expr) -> None:
    form = canonical(expr)
    found = algebra._smallest(form)
    assert found.size <= form.size and found.kind is form.kind
    assert all(compare(found, form, 40))
