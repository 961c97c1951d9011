"""The canonical form means what the program means, and joins what the rules prove equal."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from places import FIXTURES
from strategies import (
    LAYERS,
    exprs,
    joint_exprs,
    ordinary_exponents,
    ordinary_literals,
    plain_exprs,
)

from emqlang.grammar import parse, show
from emqlang.grammar.canonical.form import Step, Table, canonical, key, whole
from emqlang.grammar.canonical.rules import RULES
from emqlang.grammar.expr import Expr, apply, elaborate, postorder, statistic
from emqlang.grammar.inputs import Kind
from emqlang.grammar.levels import CONFIGURATION, CONSTANT
from emqlang.grammar.library import LIBRARY
from emqlang.grammar.proof.exact import Unclear, close, evaluate, network


def pairs(name: str) -> list[tuple[str, str]]:
    lines = (line.split("#")[0].strip() for line in (FIXTURES / name).read_text().splitlines())
    return [
        (left.strip(), right.strip()) for line in lines if line for left, right in [line.split(";")]
    ]


def titled_pairs(name: str) -> list[tuple[str, str, str]]:
    """Pairs of lines that end with a semicolon, below a comment that says what each shows."""
    lines = (FIXTURES / name).read_text().splitlines()
    blocks = zip(lines[2::4], lines[3::4], lines[4::4], strict=True)
    return [
        (title[2:], text.removesuffix(";"), end.removesuffix(";")) for title, text, end in blocks
    ]


def agree(left: Expr, right: Expr, seed: int) -> None:
    for constant in (False, True):
        layers = network(seed, constant=constant)
        try:
            a, b = evaluate(left, *layers), evaluate(right, *layers)
        except Unclear:
            assume(False)
        assert close(a, b), f"{show(left)}  is not  {show(right)}"


ORDINARY = st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0])


@given(
    plain_exprs(kinds=(Kind.LAYER,), max_ops=10, max_size=40, literals=ORDINARY),
    st.integers(0, 10**6),
)
@settings(max_examples=600)
def test_it_means_the_same(expr: Expr, seed: int) -> None:
    agree(expr, canonical(expr), seed)


@given(
    exprs(
        literals=st.sampled_from([-1.0, 0.0, 2.0]),
        exponents=st.sampled_from([-1.0, 0.5, 2.0]),
        max_ops=6,
        max_size=25,
    ),
    st.integers(0, 10**6),
)
@settings(max_examples=200)
def test_structured_ops_mean_the_same(expr: Expr, seed: int) -> None:
    program = elaborate(expr)
    agree(program, canonical(program), seed)


@given(joint_exprs(max_size=25, literals=ORDINARY), st.integers(0, 10**6))
@settings(max_examples=300)
def test_what_belongs_to_the_configuration_means_the_same(expr: Expr, seed: int) -> None:
    agree(expr, canonical(expr), seed)


@given(exprs() | joint_exprs())
@settings(max_examples=700)
def test_it_is_reached_in_one_go(expr: Expr) -> None:
    form = canonical(expr)
    assert canonical(form) == form, f"{show(expr)} -> {show(form)} -> {show(canonical(form))}"


@pytest.mark.parametrize(("title", "text", "expected"), titled_pairs("canonical.txt"))
def test_what_is_printed_has_the_same_form(title: str, text: str, expected: str) -> None:
    form = canonical(parse(text).expr)
    assert canonical(form) == canonical(parse(expected).expr) == form, title


AWKWARD = st.sampled_from([-1.0, 0.0, 0.5, 5e-324, 2.2e-308, 1e308, 1e-200])
POWERS = st.sampled_from([-2.0, -1.5, -1.0, -0.5, 0.25, 0.5, 1.5, 2.0, 3.0, 4.4])


@given(
    exprs(
        inputs=("w", "grad", "act", "fisher", "bits", "qerr"),
        ops=[
            "sign",
            "abs",
            "relu",
            "sqrt",
            "exp",
            "log",
            "inv",
            "pow",
            "mul",
            "div",
            "sub",
            "mean",
        ],
        literals=AWKWARD,
        exponents=POWERS,
    )
)
@settings(max_examples=1000)
def test_signs_under_roots_and_literals_at_the_edge_are_settled_at_once(expr: Expr) -> None:
    form = canonical(expr)
    assert canonical(form) == form, f"{show(expr)} -> {show(form)} -> {show(canonical(form))}"


@given(exprs() | joint_exprs())
def test_the_kind_may_only_come_down(expr: Expr) -> None:
    form = canonical(expr)
    assert form.kind in (expr.kind, Kind.LAYER) and form.level in (expr.level, CONSTANT)


@given(st.lists(exprs() | joint_exprs(), min_size=1, max_size=8))
def test_a_warm_table_changes_nothing(programs: list[Expr]) -> None:
    table = Table(limit=50)
    assert [canonical(p, table) for p in programs] == [canonical(p) for p in programs]


@pytest.mark.parametrize(("title", "text", "expected"), titled_pairs("canonical.txt"))
def test_fixture(title: str, text: str, expected: str) -> None:
    assert show(canonical(parse(text).expr)) == expected, title


def test_every_rule_has_a_pair_that_it_makes() -> None:
    used: set[str] = set()
    for title, text, _ in titled_pairs("canonical.txt"):
        trace: list[Step] = []
        canonical(parse(text).expr, trace=trace)
        used |= {title} & {step.rule for step in trace}
    assert {str(rule) for rule in RULES} <= used


@pytest.mark.parametrize(("left", "right"), pairs("equal.txt"))
def test_equal_programs_share_a_key(left: str, right: str) -> None:
    assert key(parse(left).expr) == key(parse(right).expr)


@pytest.mark.parametrize(("left", "right"), pairs("false_rules.txt"))
def test_what_is_false_does_not_fire(left: str, right: str) -> None:
    assert key(parse(left).expr) != key(parse(right).expr)


@pytest.mark.parametrize(("left", "right"), pairs("false_rules.txt"))
def test_what_must_not_fire_is_false(left: str, right: str) -> None:
    a, b = parse(left).elaborated, parse(right).elaborated
    assert any(not close(score(a, seed), score(b, seed)) for seed in range(20))


def score(program: Expr, seed: int) -> Any:
    """Of a small network of three layers."""
    layers = network(seed)
    if program.level == CONFIGURATION:
        return evaluate(program, *layers)
    return sum(evaluate(program, layer) for layer in layers)


@pytest.mark.parametrize(
    "text",
    [
        "exp(1000)",
        "1e200 * w * 1e200",
        "inv(1e-320) * w",
        "(w * 1e-200) ** 2",
        "w * 1e308 + w * 1e308",
        "exp(exp(10)) - w",
    ],
)
def test_no_literal_leaves_the_finite_numbers(text: str) -> None:
    form = canonical(parse(text).expr)
    assert all(
        abs(float(part)) < 1.8e308
        for part in show(form).replace("(", " ").replace(")", " ").split()
        if part[0].isdigit()
    )
    assert canonical(form) == form


def test_the_key_is_that_of_the_elaborated_program_and_stable() -> None:
    emq = "log(abs(grad_synflow)) * sqrt(mean(abs(w)))"
    assert key(parse(emq).expr) == key(parse(f"bits * mean({emq})").expr)
    assert key(parse("w").expr).hex() == "506edbb83f87a32bb236e04deb3fcaa3"


def test_long_and_deep_programs_are_quick() -> None:
    long = parse(" + ".join(["w"] * 4000)).expr
    assert show(canonical(long)) == "w * 4000"
    expr = statistic("w")
    for step in range(60):
        expr = apply("mul" if step % 3 else "add", expr, expr)
    assert canonical(expr).kind is Kind.WEIGHT


def test_the_trace_names_what_fired() -> None:
    trace: list[Step] = []
    canonical(parse("log(inv(w)) + log(w)").expr, trace=trace)
    assert [(step.rule, show(step.before), show(step.after)) for step in trace] == [
        ("log(inv(a)) = -log(a)", "log(inv(w))", "log(w) * -1"),
        ("like terms", "log(w) * -1 + log(w)", "0"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "exp(-746)",
        "exp(-729)",
        "27 * 27 / exp(729)",
        "-(373 + 373) / -exp(746)",
        "sigmoid(-720) * w",
    ],
)
def test_literals_that_would_lose_their_digits_are_left_unfolded(text: str) -> None:
    form = canonical(parse(text).expr)
    assert canonical(form) == form and any(
        node.op in ("exp", "sigmoid") for node in postorder(form)
    )


@given(exprs(of=LAYERS, literals=ordinary_literals, exponents=ordinary_exponents, max_size=40))
@settings(max_examples=200)
def test_the_outermost_total_is_part_of_no_key(expr: Expr) -> None:
    """What is summed over layers has the key of the sum, so that older keys are as they were."""
    program = elaborate(expr)
    form = whole(apply("total", program))
    assert form == whole(program) == canonical(program)
    assert whole(apply("neg", apply("total", program))) == canonical(apply("neg", program))


@given(joint_exprs())
@settings(max_examples=200)
def test_a_whole_form_is_its_own(expr: Expr) -> None:
    form = whole(elaborate(expr))
    assert whole(form) == form and form.kind is Kind.LAYER


OLDER_KEYS = {
    "emq": "858600afefb8",
    "hawq_v2": "4071a091bff4",
    "ompq": "ba56550b0d94",
    "bit_sum": "2df2992dace8",
    "fisher_form": "0bea715b91e1",
    "output_kl": "429b1539cad8",
    "evolved": "df99fdad8c8d",
    "evolved_four": "a738bf40968a",
}


@pytest.mark.parametrize("name", OLDER_KEYS)
def test_older_keys_are_what_they_were(name: str) -> None:
    """Shipped runs, tables and caches were written before there was a `total`."""
    assert LIBRARY[name].canonical.digest.hex()[:12] == OLDER_KEYS[name]


@pytest.mark.parametrize(
    "text",
    [
        "l1(1e308 * 1e308 * qerr ** 0)",
        "sum(1e-308 * 1e-308 * w ** 0)",
        "max(1e308 * 1e308 / w ** 0)",
        "slogdet(1e308 * 1e308 * gram(w) ** 0)",
        "1e308 * 1e308 * bits ** 0",
    ],
)
def test_ones_that_a_reduction_adds_do_not_pile_up(text: str) -> None:
    """Each rewriting added a factor of 1 beside literals that overflow together, without an end."""
    form = canonical(parse(text).expr)
    assert canonical(form) == form and len(show(form)) < 60
