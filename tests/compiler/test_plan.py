"""Plans: what is taken out of reductions, what programs share, how deep passes lie, and what tiles are told to do."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from fakes import compile, fake, program
from hypothesis import given, settings
from places import PROGRAMS
from strategies import exprs

from emqlang.compiler import plan
from emqlang.compiler.axes import Axes
from emqlang.compiler.form import REDUCTIONS, TOTAL, is_reduction, planning_form
from emqlang.compiler.kernels import KERNELS
from emqlang.compiler.lower import IN_PLACE, POOL, Step, Value, lower
from emqlang.compiler.plan import Plan
from emqlang.compiler.run import run
from emqlang.compiler.structured import STRUCTURED
from emqlang.grammar.expr import Expr, elaborate, postorder, statistic
from emqlang.grammar.files import load_file
from emqlang.grammar.inputs import Kind
from emqlang.grammar.ops import INPUT, LITERAL, OPS, Class
from emqlang.grammar.text.printer import show
from emqlang.views.show import describe

STATISTICS = fake()


def reductions(planned: Plan) -> list[Expr]:
    return [node for level in planned.levels for node in level if is_reduction(node)]


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
    # factors pass through abs, inv, sign and powers, and through relu and sqrt where they are not negative
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


def test_equal_parts_are_reduced_once() -> None:
    texts = (
        "mean(w * depth)",
        "sum(w + numel) / l1(w)",
        "mean(w) - sum(abs(w))",
        "l1(w * hess_trace) + sum(w)",
    )
    assert sorted(
        show(node) for node in reductions(compile([program(text) for text in texts]))
    ) == ["mean(abs(w))", "mean(w)"]


def test_passes_lie_as_deep_as_reductions_do() -> None:
    planned = compile([program("mean(exp((w - mean(w)) / std(w - mean(abs(w))))) + max(w)")])
    deepest = [
        sorted(show(node) for node in level if is_reduction(node)) for level in planned.levels
    ]
    assert deepest[:2] == [[], ["max(w)", "mean(w)", "var(w)"]]
    assert [len(level) for level in deepest] == [0, 3, 1]


def test_operands_come_before_what_uses_them() -> None:
    planned = compile([proxy.elaborated for proxy in load_file(PROGRAMS).proxies.values()])
    known: set[Expr] = set()
    for level in planned.levels:
        passes = [node for node in level if is_reduction(node)]
        assert list(level[: len(passes)]) == passes
        for node in level:
            read = (
                part for part in postorder(node) if part is not node and part.kind is Kind.LAYER
            )
            assert all(part in known for part in read)
            known.add(node)
    assert known.issuperset(planned.programs)


def test_a_tensor_is_no_program() -> None:
    with pytest.raises(ValueError, match="elaborate it first"):
        compile([statistic("w")])


def test_a_plan_in_words() -> None:
    assert describe(
        compile([program("log(abs(grad_synflow)) * sqrt(mean(abs(w)))"), program("sum(act)")])
    ) == [
        "pass 1 over tiles of activation values",
        "  %1 = mean(act)",
        "pass 1 over tiles of weight values",
        "  %2 = mean(log(grad_synflow))",
        "  %3 = mean(abs(w))",
        "then 1, one number per layer",
        "  %4 = %2 * bits",
        "  %5 = sqrt(%3)",
        "  %6 = %4 * %5",
        "  %7 = %1 * total(activation)",
        "  %8 = bits * %7",
        "results",
        "  %6",
        "  %8",
    ]
    lines = describe(compile([program("slogdet(gram(w))")]))
    assert any("whole layers" in line for line in lines)


def test_values_of_nothing() -> None:
    assert run(compile([]), STATISTICS).shape == (0, 3, 3)
    assert describe(compile([])) == ["results"]


def test_axes_have_a_row_for_each_distinct_part_of_a_choice() -> None:
    axes = Axes(STATISTICS.choices)
    assert axes.bits == (
        ((None, None),),
        ((2, None), (4, None)),
        ((None, 4), (None, 8)),
        ((2, 4), (2, 8), (4, 8)),
    )
    assert [axes.of_choices(mask) for mask in range(4)] == [
        (0, 0, 0),
        (0, 0, 1),
        (0, 1, 1),
        (0, 1, 2),
    ]
    assert [axes.project(3, row, 2) for row in axes.rows(3)] == [0, 1, 1]


def test_tile_programs_use_few_registers_and_overwrite_only_what_may_be() -> None:
    planned = compile([proxy.elaborated for proxy in load_file(PROGRAMS).proxies.values()])
    axes = Axes(STATISTICS.choices)
    for kind in (Kind.WEIGHT, Kind.ACTIVATION):
        nodes = [node for node in reductions(planned) if node.args[0].kind is kind]
        code = lower([Value(node, row) for node in nodes for row in axes.rows(node.axes)], axes)
        assert code.registers <= POOL
        scratch = len(code.inputs) + len(code.scalars)
        for step in code.code:
            if isinstance(step, Step):
                assert step.target > scratch
                assert step.node.op in IN_PLACE or step.target not in step.operands


@given(exprs(max_size=40).map(elaborate))
@settings(max_examples=200)
def test_planning_form_needs_no_canonical_form(expr: Expr) -> None:
    """Where literals would overflow the canonical form leaves any op as written."""
    (form,) = planning_form([expr])
    assert {node.op for node in postorder(form)} <= {
        INPUT,
        LITERAL,
        TOTAL,
        *KERNELS,
        *STRUCTURED,
        *REDUCTIONS,
    }
    assert (form.kind, form.axes) == (expr.kind, expr.axes)


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


SIDES = (
    ("normalize(w) + 2", "-2 * w / hess_trace"),
    ("min_max(square(act) * depth)", "numel - act / -3"),
    ("gram(qerr * bits)", "w @ (-grad)"),
    ("-w + -grad", "w ** -0.5 * numel - 1 * grad"),
)


def test_the_count_of_a_sample_is_a_leaf() -> None:
    for text in ("sum(act)", "l2(act + depth)", "sum(act - depth)"):
        leaves = {
            node.value for node in postorder(*compile([program(text)]).programs) if node.op == TOTAL
        }
        assert leaves == {Kind.ACTIVATION}
