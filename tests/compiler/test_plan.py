"""Plans: what programs share, how deep passes lie, and the order of levels."""

from __future__ import annotations

import pytest
from fakes import compile, program
from populations import SMALL
from spec import reductions

from emqlang.compiler.form import is_reduction
from emqlang.compiler.run import run
from emqlang.grammar.expr import Expr, postorder, statistic
from emqlang.grammar.inputs import Kind
from emqlang.grammar.text.printer import show


def test_equal_parts_are_reduced_once() -> None:
    texts = (
        "mean(w * depth)",
        "sum(w + numel) / l1(w)",
        "mean(w) - sum(abs(w))",
        "l1(w * hess_trace) + sum(w)",
    )
    shared = reductions(compile([program(text) for text in texts]))
    assert sorted(map(show, shared)) == ["mean(abs(w))", "mean(w)"]


def test_passes_lie_as_deep_as_reductions_do() -> None:
    planned = compile([program("mean(exp((w - mean(w)) / std(w - mean(abs(w))))) + max(w)")])
    deepest = [
        sorted(show(node) for node in level if is_reduction(node)) for level in planned.levels
    ]
    assert deepest[:2] == [[], ["max(w)", "mean(w)", "var(w)"]]
    assert [len(level) for level in deepest] == [0, 3, 1]


def test_operands_come_before_what_uses_them(population: list[Expr]) -> None:
    planned = compile(population)
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


def test_a_tensor_is_not_a_program() -> None:
    with pytest.raises(ValueError, match="elaborate it first"):
        compile([statistic("w")])


def test_values_of_nothing() -> None:
    assert run(compile([]), SMALL).shape == (0, 3, 3)
