"""`parse(show(x)) == x`, exactly, with no parenthesis too many."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from strategies import exprs, finite

from emqlang.grammar import fmt, parse, show
from emqlang.grammar.expr import Expr, apply, literal, statistic
from emqlang.grammar.text.printer import number

W, BITS = statistic("w"), statistic("bits")


@given(exprs(max_ops=25))
@settings(max_examples=500)
def test_what_is_printed_reads_back_as_the_same_expression(expr: Expr) -> None:
    assert parse(show(expr)).expr == expr


@given(finite)
def test_numbers_read_back_exactly(value: float) -> None:
    assert literal(float(number(value))) == literal(value)
    assert parse(show(literal(value))).expr == literal(value)
    assert parse(show(apply("neg", literal(value)))).expr == apply("neg", literal(value))
    assert parse(show(apply("pow", literal(value), exponent=value))).expr == apply(
        "pow", literal(value), exponent=value
    )


CANONICAL = (
    "w",
    "2",
    "-2",
    "0.5",
    "1e-09",
    "1e+16",
    "-(2)",
    "--2",
    "--w",
    "-w",
    "w - (w - w)",
    "w - w - w",
    "w + (w + w)",
    "w + w - w",
    "w - w + w",
    "w / (w / w)",
    "w / w * w",
    "w * (w / w)",
    "w * (w + 1)",
    "w * w + 1",
    "(w - 1) * w",
    "w @ w @ (w @ w)",
    "w * -w",
    "w - -w",
    "w - -2",
    "-w * w",
    "-(w * w)",
    "-(w + w)",
    "-w ** 2",
    "(-w) ** 2",
    "-2 ** 2",
    "(-2) ** 2",
    "w ** -2",
    "w ** 0.5",
    "(w ** 2) ** 3",
    "log(w) ** 2",
    "(w + w) ** 2",
    "mean(-w)",
    "log(w + w)",
    "bits * mean(log(abs(grad_synflow)) * sqrt(mean(abs(w))))",
)


@pytest.mark.parametrize("text", CANONICAL)
def test_a_text_in_standard_form_is_printed_as_it_was_written(text: str) -> None:
    assert show(parse(text).expr) == text


@given(exprs())
def test_what_is_printed_is_in_standard_layout(expr: Expr) -> None:
    line = f"name = {show(expr)}\n"
    assert fmt(line) == line


@given(exprs(max_ops=6))
@settings(max_examples=50)
def test_every_pair_of_parentheses_is_needed(expr: Expr) -> None:
    text = show(expr)
    for opened, character in enumerate(text):
        if character != "(" or (opened and text[opened - 1].isalnum()):
            continue
        closed = _partner(text, opened)
        bare = parse_or_none(
            text[:opened] + " " + text[opened + 1 : closed] + " " + text[closed + 1 :]
        )
        assert bare is None or bare != expr


def test_depth_does_not_matter() -> None:
    left = right = W
    for _ in range(4_000):
        left, right = apply("add", left, W), apply("add", W, right)
    assert show(left) == " + ".join(["w"] * 4_001)
    assert show(right).endswith(")" * 3_999)
    assert parse(show(left)).expr == left


def _partner(text: str, opened: int) -> int:
    depth = 0
    for place in range(opened, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return place
    raise AssertionError("unbalanced")


def parse_or_none(text: str) -> Expr | None:
    from emqlang.grammar.diagnostics import EmqError

    try:
        return parse(text).expr
    except EmqError:
        return None
