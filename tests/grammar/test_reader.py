"""Trees become expressions: what names, numbers and signs mean, and what is wrong with them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from strategies import exprs

from emqlang.grammar import parse, show
from emqlang.grammar.diagnostics import EmqError
from emqlang.grammar.expr import Expr, apply, elaborate, literal, statistic
from emqlang.grammar.inputs import INPUTS, Kind
from emqlang.grammar.levels import CONFIGURATION
from emqlang.grammar.ops import CALLS, INFIX, OPS

W, BITS = statistic("w"), statistic("bits")


def codes(text: str, **names: Expr) -> list[str]:
    with pytest.raises(EmqError) as caught:
        parse(text, names=names)
    return [diagnostic.code for diagnostic in caught.value.diagnostics]


@pytest.mark.parametrize("name", INPUTS)
def test_every_statistic_has_its_name(name: str) -> None:
    assert parse(name).expr == statistic(name)


def test_every_op_can_be_written() -> None:
    takes = {"slogdet": "gram(w)", "total": "bits"}
    written = {
        *(op for op in CALLS if parse(f"{op}({takes.get(op, 'w')})").expr.op == op),
        *(
            op
            for infix, op in INFIX.items()
            if parse(f"w {infix} 2" if infix != "@" else "w @ w").expr.op == op
        ),
        parse("-w").expr.op,
    }
    assert written == set(OPS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2", literal(2)),
        ("-2", literal(-2)),
        ("-0", literal(0)),
        ("-(2)", apply("neg", literal(2))),
        ("-2 ** 2", apply("neg", apply("pow", literal(2), exponent=2))),
        ("(-2) ** 2", apply("pow", literal(-2), exponent=2)),
        ("w ** -2", apply("pow", W, exponent=-2)),
        ("w ** (2)", apply("pow", W, exponent=2)),
        ("w ** -(2)", apply("pow", W, exponent=-2)),
        ("w ** 0.5", apply("pow", W, exponent=0.5)),
        ("a * 2", apply("mul", apply("add", W, W), literal(2))),
        ("w ** c", apply("pow", W, exponent=3)),
        ("w ** -c", apply("pow", W, exponent=-3)),
    ],
)
def test_meaning(text: str, expected: Expr) -> None:
    assert parse(text, names={"a": apply("add", W, W), "c": literal(3)}).expr == expected


@pytest.mark.parametrize(
    ("text", "elaborated", "added"),
    [
        (
            "log(abs(grad_synflow)) * sqrt(mean(abs(w)))",
            "bits * mean(log(abs(grad_synflow)) * sqrt(mean(abs(w))))",
            ("mean", "bits *"),
        ),
        ("hess_trace", "bits * hess_trace", ("bits *",)),
        ("bits * hess_trace", "bits * hess_trace", ()),
        ("square(qerr)", "mean(square(qerr))", ("mean",)),
        ("act_qerr", "act_qerr", ()),
        ("gram(w)", "bits * mean(gram(w))", ("mean", "bits *")),
        ("2", "bits * 2", ("bits *",)),
        ("shift", "mean(shift)", ("mean",)),
        ("-total(fisher_qerr)", "-total(fisher_qerr)", ()),
        ("square(total(shift))", "mean(square(total(shift)))", ("mean",)),
        ("log(total(numel))", "log(total(numel))", ()),
    ],
)
def test_elaboration_says_what_it_adds(text: str, elaborated: str, added: tuple[str, ...]) -> None:
    program = parse(text)
    assert (show(program.elaborated), program.added, program.text) == (elaborated, added, text)


@given(exprs())
def test_elaboration_makes_a_layer_value_that_depends_on_the_choice_and_stays(expr: Expr) -> None:
    program = parse(show(expr))
    assert program.elaborated == elaborate(expr) == elaborate(program.elaborated)
    assert program.elaborated.kind is Kind.LAYER
    assert program.elaborated.axes or program.elaborated.level == CONFIGURATION
    assert bool(program.added) == (program.elaborated != expr)


@pytest.mark.parametrize(
    "text",
    [
        "log(abs(w))",
        "sqrt(square(w))",
        "w ** 2",
        "w ** -3",
        "log(grad_synflow)",
        "sqrt(relu(w))",
        "abs(w) ** 0.5",
        "log(var(w))",
        "log(0)",
    ],
)
def test_no_warning_where_the_sign_is_known(text: str) -> None:
    assert parse(text).warnings == ()


@pytest.mark.parametrize(
    "text",
    [
        "log(w)",
        "log(-abs(w))",
        "sqrt(hess_trace)",
        "grad ** 1.5",
        "(w - 1) ** -0.5",
        "log(log(abs(w)))",
    ],
)
def test_a_suspicious_domain_is_a_warning(text: str) -> None:
    assert [warning.code for warning in parse(text).warnings] == ["W601"]


def test_a_name_whose_text_is_wrong_is_not_reported_again() -> None:
    assert codes("log(foo) + sqrt(bar) * 1e999") == ["E102", "E102", "E110"]
    assert codes("mean(foo) + w") == ["E102"]


def test_errors_are_in_the_order_of_the_text_and_five_at_most() -> None:
    with pytest.raises(EmqError) as caught:
        parse("mean(bits) + foo + w ** act + log() + w(2) + bar + 1e999")
    starts = [diagnostic.span.start for diagnostic in caught.value.diagnostics if diagnostic.span]
    assert starts == sorted(starts) and len(starts) == 5


def test_the_expanded_size_is_counted_without_expanding() -> None:
    started = time.perf_counter()
    big = W
    for _ in range(60):
        big = apply("mul", big, big)
    with pytest.raises(EmqError) as caught:
        parse("a * a", names={"a": big})
    assert caught.value.diagnostics[0].code == "E106"
    assert "about 10^18 nodes" in caught.value.diagnostics[0].message
    assert time.perf_counter() - started < 1


def test_the_size_limit_is_ten_thousand_nodes() -> None:
    assert parse("w" + " + w" * 4_999).expr.size == 9_999
    assert codes("w" + " + w" * 5_000) == ["E106"]


def test_numbers_are_float64() -> None:
    assert parse("1e308").expr == literal(1e308)
    assert parse("0.1").expr == literal(0.1)
    assert parse("1e-400").expr == literal(0)
    assert codes("1e309 + " + "9" * 400) == ["E110", "E110"]


def test_an_expression_bound_outside_wins_over_nothing_else() -> None:
    assert parse("a", names={"a": BITS}).expr == BITS
    assert codes("b", a=BITS) == ["E102"]


@pytest.mark.parametrize(
    ("text", "separable"),
    [
        ("fisher_qerr", True),
        ("mean(square(shift))", True),
        ("-total(fisher_qerr)", True),
        ("-mean(total(square(shift)))", True),
        ("total(bits) + total(kl) / 2", True),
        ("square(total(shift))", False),
        ("log(total(kl))", False),
        ("total(kl) + 1", False),
        ("total(kl) * total(bits)", False),
        ("total(bits) ** 0", False),
    ],
)
def test_what_separates_is_a_sum_over_layers(text: str, separable: bool) -> None:
    assert parse(text).separable is separable
