"""The way from text to scores: where a proxy enters it, the bit weight, many proxies at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from strategies import LAYERS, plain_exprs
from ties import BITS, GROUPS, STATISTICS, table

from emqlang.compiler.cache import Cache
from emqlang.grammar.canonical.form import canonical
from emqlang.grammar.diagnostics import EmqError
from emqlang.grammar.expr import Expr, apply, elaborate, statistic
from emqlang.grammar.inputs import Kind
from emqlang.grammar.program import parse
from emqlang.grammar.text.printer import show
from emqlang.scores.pipeline import tabulate, without_bits


def test_a_text_a_program_and_its_canonical_form_are_one_proxy() -> None:
    text = "log(abs(grad_synflow)) * sqrt(mean(abs(w)))"
    read = parse(text)
    tables = tabulate([text, read, read.canonical], STATISTICS, GROUPS)
    assert len({table.values.tobytes() for table in tables}) == 1
    assert len({table.scores.tobytes() for table in tables}) == 1


def test_a_text_with_a_mistake_is_refused() -> None:
    with pytest.raises(EmqError) as caught:
        tabulate(["numel", "nothing"], STATISTICS, GROUPS)
    assert [diagnostic.code for diagnostic in caught.value.diagnostics] == ["E102"]


# elaboration and Q


SENSITIVITIES = [
    "w",
    "abs(w) * numel",
    "mean(abs(w))",
    "log(abs(grad_synflow)) * sqrt(mean(abs(w)))",
    "3",
    "bits",
]


@pytest.mark.parametrize("text", SENSITIVITIES)
def test_the_bit_weight_may_be_written(text: str) -> None:
    q = parse(text).expr
    plain = elaborate(q)
    layer = q if q.kind is Kind.LAYER else apply("mean", q)
    written = plain if "bits" in text else apply("mul", statistic("bits"), layer)
    turned = plain if "bits" in text else apply("mul", layer, statistic("bits"))
    tables = tabulate([canonical(expr) for expr in (plain, written, turned)], STATISTICS, GROUPS)
    assert len({table.values.tobytes() for table in tables}) == 1
    assert len({table.q.tobytes() for table in tables if table.q is not None}) == 1
    assert all(table.q is not None and table.tied == "main" for table in tables)


WEIGHTED = [
    ("bits", "1"),
    ("2 * bits", "2"),
    ("bits * mean(w)", "mean(w)"),
    ("mean(abs(w) * bits)", "mean(abs(w))"),
    ("-bits / numel", "-inv(numel)"),
    ("numel * bits * depth", "numel * depth"),
    ("w - w", "0"),
    ("mean(qerr - qerr)", "0"),
]
NOT_WEIGHTED = [
    "bits ** 2",
    "bits + 1",
    "inv(bits)",
    "bits * act_bits",
    "bits * mean(qerr)",
    "mean(qerr)",
    "sqrt(bits)",
]


@pytest.mark.parametrize(("text", "q"), WEIGHTED)
def test_q_is_what_bits_weight(text: str, q: str) -> None:
    scored, expected = table(text), table(f"bits * ({q})")
    assert scored.q is not None and expected.q is not None
    assert scored.q.tobytes() == expected.q.tobytes()
    np.testing.assert_array_equal(scored.values[:, 0], 2 * scored.q)


@pytest.mark.parametrize("text", NOT_WEIGHTED)
def test_what_is_not_a_bit_weight(text: str) -> None:
    assert without_bits(parse(text).canonical) is None


@given(
    plain_exprs(inputs=("w", "grad", "act", "numel", "depth"), of=LAYERS, max_ops=6, max_size=25)
)
@settings(max_examples=60)
def test_values_are_bits_times_q(expr: Expr) -> None:
    (scored,) = tabulate([canonical(elaborate(expr))], STATISTICS, GROUPS)
    assert scored.q is not None, show(expr)
    np.testing.assert_allclose(scored.values, scored.q[:, None] * [2.0, 3.0, 8.0], rtol=1e-12)


# many at once


def test_tables_come_in_order_and_share_a_cache() -> None:
    texts = ["mean(abs(w))", "-sum(square(qerr))", "numel", "mean(abs(w)) * mean(abs(grad))"]
    cache = Cache()
    together = tabulate(texts, STATISTICS, GROUPS, cache=cache)
    misses = cache.misses
    for text, one in zip(texts, together, strict=True):
        (alone,) = tabulate([text], STATISTICS, GROUPS, cache=cache)
        assert alone.values.tobytes() == one.values.tobytes() == table(text).values.tobytes()
        assert (one.layers, one.groups, one.choices) == (("stem", "block", "head"), GROUPS, BITS)
    assert cache.misses == misses
    assert tabulate([], STATISTICS, GROUPS) == []
