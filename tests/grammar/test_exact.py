"""60 digits: zero is distinguished from small, and what is neither zero nor ordinary is unclear."""

from __future__ import annotations

import pytest

from emqlang.grammar import parse
from emqlang.grammar.canonical.form import canonical
from emqlang.grammar.proof.exact import Unclear, close, evaluate

LAYER = {"w": [[0.1, 0.1, 0.1]], "grad": [[1, 2, 3]]}


@pytest.mark.parametrize(
    "text",
    [
        "exp(-109) ** -2 * exp(-109) ** 2",
        "exp(-109)",
        "inv(sigmoid(-109))",
        "inv(0.5 ** 60)",
        "inv(1e-8 * 1e-8)",
        "inv(var(grad * 1e-7))",
        "exp(109)",
    ],
)
def test_what_is_small_is_not_zero(text: str) -> None:
    with pytest.raises(Unclear):
        evaluate(parse(text).expr, LAYER)


def test_a_small_exponential_under_a_negative_power() -> None:
    """1 by the rules, and not 0 by taking exp(-109) for 0."""
    expr = parse("exp(-109) ** -2 * exp(-109) ** 2").expr
    assert close(evaluate(canonical(expr), {}), 1)
    with pytest.raises(Unclear):
        evaluate(expr, {})


@pytest.mark.parametrize(
    "text",
    [
        "inv(0.1 + 0.2 - 0.3)",
        "inv(mean(w) - 0.1)",
        "inv(sum(w) - 0.3)",
        "inv(std(w))",
        "inv(log(0.1 * 10))",
        "sum(normalize(w))",
        "max(min_max(w))",
        "inv(var(w - 0.1))",
        "inv(max(w @ (w - 0.1)))",
    ],
)
def test_what_cancels_but_for_rounding_is_zero(text: str) -> None:
    assert evaluate(parse(text).expr, LAYER) == 0
