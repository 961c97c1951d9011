"""`show`: the plan in words."""

from __future__ import annotations

from fakes import compile, program

from emqlang.views.show import describe


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
        "  %7 = %1 * count(activation)",
        "  %8 = bits * %7",
        "results",
        "  %6",
        "  %8",
    ]
    lines = describe(compile([program("slogdet(gram(w))")]))
    assert any("whole layers" in line for line in lines)
    assert describe(compile([])) == ["results"]
