"""Every rewrite rule: true wherever its condition holds, used, and not in another's shadow."""

from __future__ import annotations

import math
import random

import pytest

from emqlang.grammar import parse
from emqlang.grammar.canonical.form import canonical
from emqlang.grammar.canonical.rules import RULES, Rule, dispatch, find
from emqlang.grammar.expr import Expr, apply, fold, rebuild, statistic
from emqlang.grammar.inputs import Kind
from emqlang.grammar.ops import INPUT
from emqlang.grammar.proof.exact import GRID, Unclear, close, evaluate
from emqlang.grammar.signs import ANY, NEGATIVE, NONNEGATIVE, POSITIVE, ZERO, Sign

A = Expr(INPUT, (), "a", b"a", Kind.WEIGHT, ANY, 0)
CONDITIONS: dict[str, Sign] = {
    "": ANY,
    "a >= 0": NONNEGATIVE,
    "a <= 0": NEGATIVE | ZERO,
    "a > 0": POSITIVE,
    "a < 0": NEGATIVE,
}
# a statistic, or what is made of one, of each sign that a condition may ask for
OF_SIGN: dict[Sign, Expr] = {
    ANY: statistic("w"),
    NONNEGATIVE: statistic("fisher"),
    NEGATIVE | ZERO: apply("neg", statistic("fisher")),
    POSITIVE: statistic("numel"),
    NEGATIVE: apply("neg", statistic("numel")),
}


def side(text: str) -> Expr:
    return parse(text, "<rule>", {"a": A}).expr


def fits(value: float, condition: Sign) -> bool:
    return bool(condition & (POSITIVE if value > 0 else NEGATIVE if value < 0 else ZERO))


def values(condition: Sign) -> list[float]:
    rng = random.Random(0)
    drawn = [math.copysign(math.exp(rng.uniform(-3, 3)), rng.uniform(-1, 1)) for _ in range(200)]
    return [x for x in (*GRID, *drawn) if fits(x, condition)]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_it_is_true_wherever_its_condition_holds(rule: Rule) -> None:
    left, right = side(rule.pattern), side(rule.result)
    checked = 0
    for value in values(CONDITIONS[rule.condition]):
        try:
            assert close(evaluate(left, {"a": value}), evaluate(right, {"a": value})), (
                f"{rule} at a = {value}"
            )
            checked += 1
        except Unclear:
            continue
    assert checked > 30


def put(pattern: Expr, operand: Expr) -> Expr:
    return fold(pattern, lambda node, args: operand if node == A else rebuild(node, args))


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_it_fires_and_no_rule_before_it_does(rule: Rule) -> None:
    """On an operand of just the sign that it asks for, the rule itself is what is found."""
    instance = put(side(rule.pattern), OF_SIGN[CONDITIONS[rule.condition]])
    match = find(instance.op, instance.args[0])
    assert match is not None and match[0].rule == rule


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_both_sides_have_one_canonical_form(rule: Rule) -> None:
    operand = OF_SIGN[CONDITIONS[rule.condition]]
    assert canonical(put(side(rule.pattern), operand)) == canonical(put(side(rule.result), operand))


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.condition], ids=str)
def test_its_condition_is_needed(rule: Rule) -> None:
    """Outside of it the two sides differ somewhere; a needless condition hides equal programs."""
    left, right = side(rule.pattern), side(rule.result)
    outside = [x for x in values(ANY) if not fits(x, CONDITIONS[rule.condition])]

    def differs(value: float) -> bool:
        try:
            return not close(evaluate(left, {"a": value}), evaluate(right, {"a": value}))
        except Unclear:
            return False

    assert any(map(differs, outside))


def test_every_rule_is_compiled_once() -> None:
    compiled = [entry.rule for rules in dispatch().values() for entry in rules]
    assert sorted(map(str, compiled)) == sorted(map(str, RULES)) and len(set(RULES)) == len(RULES)
