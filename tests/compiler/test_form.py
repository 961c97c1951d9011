"""Planning form: what is left to reduce, the meaning that passes keep, the rules they obey."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from fakes import compile, fake, program
from hypothesis import given, settings
from spec import reductions, verify
from strategies import LAYERS, exprs

from emqlang.compiler import plan
from emqlang.compiler.form import COUNT
from emqlang.compiler.plan import Plan
from emqlang.compiler.run import run
from emqlang.grammar.canonical.form import canonical
from emqlang.grammar.expr import Expr, apply, elaborate, literal, postorder, statistic
from emqlang.grammar.inputs import Kind
from emqlang.grammar.ops import OPS, Class
from emqlang.grammar.text.printer import show

STATISTICS = fake()


HOISTED = [
    # mean(x * s) = mean(x) * s
    ("mean(w * hess_trace)", "mean(w)"),
    ("mean(w / numel)", "mean(w)"),
    ("mean(-w)", "mean(w)"),
    ("mean(qerr * bits * depth)", "mean(qerr)"),
    # mean(x + s) = mean(x) + s
    ("mean(w + hess_trace)", "mean(w)"),
    ("mean(hess_trace - w)", "mean(w)"),
    ("mean((w - depth) * numel + 2)", "mean(w)"),
    # sum(x * s) = total * mean(x) * s, sum(x + s) = sum(x) + total * s
    ("sum(w * hess_trace)", "mean(w)"),
    ("sum(w + hess_trace)", "mean(w)"),
    ("sum(act - hess_trace)", "mean(act)"),
    # l1(x * s) = l1(x) * |s|, l2(x * s) = l2(x) * |s|
    ("l1(w * hess_trace)", "mean(abs(w))"),
    ("l2(w * hess_trace)", "mean(w ** 2)"),
    # std(x * s) = std(x) * |s|, var(x * s) = var(x) * s ** 2, and neither sees an offset
    ("std(w * hess_trace)", "var(w)"),
    ("var(w * hess_trace)", "var(w)"),
    ("std(w + hess_trace)", "var(w)"),
    ("var(hess_trace - w)", "var(w)"),
    ("std((qerr + 3) * bits / 2)", "var(qerr)"),
    # min(x * s) = min(x) * s and max likewise, for s >= 0
    ("min(w * depth)", "min(w)"),
    ("max(w * depth)", "max(w)"),
    ("max(-w)", "min(w)"),
    # factors pass through abs, inv, sign and powers; relu and sqrt let those pass that are >= 0
    ("mean(abs(w * hess_trace))", "mean(abs(w))"),
    ("mean(inv(w * hess_trace))", "mean(inv(w))"),
    ("mean(sign(w * hess_trace))", "mean(sign(w))"),
    ("mean(square(w * hess_trace))", "mean(w ** 2)"),
    ("mean(relu(w * depth))", "mean(relu(w))"),
    ("mean(sqrt(w * depth))", "mean(sqrt(w))"),
]


KEPT = [
    ("min(w * hess_trace)", "min(w * hess_trace)"),
    ("max(w * hess_trace)", "max(w * hess_trace)"),
    ("mean(relu(w * hess_trace))", "mean(relu(w * hess_trace))"),
    ("mean(sqrt(w * hess_trace))", "mean(sqrt(w * hess_trace))"),
    ("mean(log(w * numel))", "mean(log(w * numel))"),
    ("mean(exp(w + depth))", "mean(exp(depth + w))"),
]


@pytest.mark.parametrize(("text", "rest"), [*HOISTED, *KEPT])
def test_only_what_no_identity_takes_out_is_reduced(text: str, rest: str) -> None:
    expr = program(text)
    planned = compile([expr])
    assert [show(node) for node in reductions(planned)] == [rest]
    for statistics in (STATISTICS.in_float64(), fake(seed=1).in_float64()):
        (values,) = run(planned, statistics)
        np.testing.assert_allclose(values, reference.evaluate(expr, statistics), rtol=1e-9)


@pytest.mark.parametrize("text", [text for text, _ in HOISTED])
def test_factors_and_offsets_of_nothing_and_of_one_value(text: str) -> None:
    """Layers whose factor is 0, and layers of one value."""
    statistics = fake(
        shapes={"one": (1, 1), "two": (2, 1), "three": (3, 5)}, sampled=1
    ).in_float64()
    statistics = statistics.with_arrays(
        hess_trace=np.array([0.0, -1.5, 0.0]), depth=np.array([0.0, 1.0, 2.0])
    )
    expr = program(text)
    np.testing.assert_allclose(
        run(compile([expr]), statistics)[0],
        reference.evaluate(expr, statistics),
        rtol=1e-9,
        atol=1e-15,
    )


@given(exprs(max_size=60, of=LAYERS).map(elaborate))
@settings(max_examples=400)
def test_every_program_obeys_the_rules(expr: Expr) -> None:
    """Canonical or not: where literals would overflow, canonical forms leave an op as written."""
    for one in (canonical(expr), expr):
        planned = plan.compile([one])
        verify(planned)
        (form,) = planned.programs
        assert (form.kind, form.axes) == (one.kind, one.axes)


W, GRAD, S = statistic("w"), statistic("grad"), statistic("hess_trace")
BROKEN = [
    ("the op is one that engines have", apply("square", W)),
    ("the op is one that engines have", apply("std", W)),
    ("an exponent is finite, and not negative", apply("pow", W, exponent=-2)),
    ("a power is written in the fewest steps", apply("pow", W, exponent=1.5)),
    ("a tensor meets one layer value once", apply("mul", apply("mul", W, S), GRAD)),
    ("a tensor meets one layer value once", apply("mul", apply("neg", W), S)),
    ("a tensor is not multiplied by one", apply("mul", W, literal(1))),
    ("a negative is subtracted", apply("add", W, apply("neg", GRAD))),
    ("operands of one kind are in order", apply("mul", *sorted((W, GRAD), reverse=True))),
]


@pytest.mark.parametrize(("rule", "expr"), BROKEN)
def test_a_broken_rule_is_named(rule: str, expr: Expr) -> None:
    root = expr if expr.kind is Kind.LAYER else apply("mean", expr)
    with pytest.raises(AssertionError, match=rule):
        verify(Plan((root,), ((), (root,))))


def test_levels_are_verified() -> None:
    inner = apply("mean", W)
    outer = apply("mean", apply("sub", W, inner))
    verify(Plan((outer,), ((), (inner,), (outer,))))
    for levels in (((), (outer,), (inner,)), ((), (inner, outer)), ((), (), (inner,), (outer,))):
        with pytest.raises(AssertionError):
            verify(Plan((outer,), levels))


SIDES = (
    ("normalize(w) + 2", "-2 * w / hess_trace"),
    ("min_max(square(act) * depth)", "numel - act / -3"),
    ("gram(qerr * bits)", "w @ (-grad)"),
    ("-w + -grad", "w ** -0.5 * numel - 1 * grad"),
)


def test_programs_that_are_not_canonical_mean_the_same() -> None:
    statistics = STATISTICS.in_float64()
    texts = [
        f"{op.name}({x}) / {op.name}({y})"
        for op in OPS.values()
        if op.cls is Class.REDUCTION
        for x, y in SIDES
    ]
    programs = [program(text) for text in texts]
    for values, expr in zip(run(plan.compile(programs), statistics), programs, strict=True):
        np.testing.assert_allclose(values, reference.evaluate(expr, statistics), rtol=1e-9)


def test_the_count_of_a_sample_is_a_leaf() -> None:
    for text in ("sum(act)", "l2(act + depth)", "sum(act - depth)"):
        leaves = {
            node.value for node in postorder(*compile([program(text)]).programs) if node.op == COUNT
        }
        assert leaves == {Kind.ACTIVATION}
