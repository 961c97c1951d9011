"""Rewrite rules as data: identities of one operand, written in the language.

Each holds for EVERY real value of its variable under the protected meaning of the op table, zeros included, wherever its
condition on the variable's sign does; tests try each on a grid and on random data. What products and sums, and ops over
them, become is in `normal.py`.

False, and therefore missing: log(a*b) = log(a) + log(b) unless both are positive; exp(log(a)) = a unless a > 0; a/a = 1
and a/b*b = a unless the divisor is not 0; sqrt(a)*sqrt(a) = a unless a >= 0 (it is relu(a)).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from emqlang.grammar.expr import Expr, postorder
from emqlang.grammar.inputs import Kind
from emqlang.grammar.ops import INPUT
from emqlang.grammar.signs import ANY, NEGATIVE, NONNEGATIVE, NONZERO, POSITIVE, ZERO, Sign

Make = Callable[..., Expr]  # (op, *canonical operands, exponent=...) -> canonical expression


@dataclass(frozen=True, slots=True)
class Rule:
    """`pattern` becomes `result` where the variable meets `condition`."""

    pattern: str
    result: str
    condition: str = ""

    def __str__(self) -> str:
        return f"{self.pattern} = {self.result}" + f" where {self.condition}" * bool(self.condition)


RULES = (
    # the sign is known
    Rule("abs(a)", "a", "a >= 0"),
    Rule("abs(a)", "-a", "a <= 0"),
    Rule("relu(a)", "a", "a >= 0"),
    Rule("relu(a)", "0", "a <= 0"),
    Rule("sqrt(a)", "0", "a <= 0"),
    Rule("log(a)", "0", "a <= 0"),
    Rule("sign(a)", "1", "a > 0"),
    Rule("sign(a)", "-1", "a < 0"),
    # inverses of each other
    Rule("inv(inv(a))", "a"),
    Rule("log(exp(a))", "a"),
    Rule("exp(log(a))", "a", "a > 0"),
    # through a logarithm
    Rule("log(inv(a))", "-log(a)"),
    Rule("log(sqrt(a))", "log(a) * 0.5"),
    Rule("log(relu(a))", "log(a)"),
    # through a root
    Rule("sqrt(exp(a))", "exp(a * 0.5)"),
    Rule("sqrt(relu(a))", "sqrt(a)"),
    # through an exponential
    Rule("inv(exp(a))", "exp(-a)"),
    # through a sign
    Rule("sign(inv(a))", "sign(a)"),
    Rule("inv(sign(a))", "sign(a)"),
    Rule("sign(sign(a))", "sign(a)"),
    Rule("sign(sqrt(a))", "sign(relu(a))"),
    # one order of ops that commute
    Rule("abs(inv(a))", "inv(abs(a))"),
    Rule("relu(inv(a))", "inv(relu(a))"),
    Rule("relu(sign(a))", "sign(relu(a))"),
    Rule("sigmoid(log(a))", "a * inv(a + 1)", "a > 0"),
)

_CONDITIONS = {
    "": ANY, "a >= 0": NONNEGATIVE, "a <= 0": NEGATIVE | ZERO, "a > 0": POSITIVE, "a < 0": NEGATIVE, "a != 0": NONZERO,
}  # fmt: skip
_SHAPE = re.compile(r"(\w+)\((?:(\w+)\()?a\)?\)")


@dataclass(frozen=True, slots=True)
class Compiled:
    """A rule, ready: the signs that its variable may have, and the result as a program over it."""

    rule: Rule
    sign: Sign
    result: Expr

    def build(self, operand: Expr, make: Make) -> Expr:
        """The result with the variable replaced, canonical."""
        built: dict[bytes, Expr] = {}
        for node in postorder(self.result):
            if node.op == INPUT:
                built[node.digest] = operand
            elif not node.args:
                built[node.digest] = node
            else:
                built[node.digest] = make(node.op, *(built[arg.digest] for arg in node.args))
        return built[self.result.digest]


Dispatch = dict[str, tuple[tuple[Compiled, ...], dict[str, tuple[Compiled, ...]]]]


@cache
def dispatch() -> Dispatch:
    """op -> (rules over any operand, operand's op -> rules over that op's operand)."""
    from emqlang.grammar.program import parse

    variable = {"a": Expr(INPUT, (), "a", b"a", Kind.WEIGHT, ANY, 0)}
    table: dict[str, tuple[list[Compiled], dict[str, list[Compiled]]]] = {}
    for rule in RULES:
        shape = _SHAPE.fullmatch(rule.pattern)
        assert shape, rule
        head, child = shape.groups()
        result = parse(rule.result, "<rule>", variable).expr
        bare, by_child = table.setdefault(head, ([], {}))
        (by_child.setdefault(child, []) if child else bare).append(
            Compiled(rule, _CONDITIONS[rule.condition], result)
        )
    return {
        head: (tuple(bare), {op: tuple(rules) for op, rules in by.items()})
        for head, (bare, by) in table.items()
    }


def find(op: str, operand: Expr) -> tuple[Compiled, Expr] | None:
    """The first rule for op(operand), with what its variable stands for."""
    rules = dispatch().get(op)
    if rules is None:
        return None
    for compiled in rules[0]:
        if operand.sign | compiled.sign == compiled.sign:
            return compiled, operand
    for compiled in rules[1].get(operand.op, ()):
        inner = operand.args[0]
        if inner.sign | compiled.sign == compiled.sign:
            return compiled, inner
    return None
