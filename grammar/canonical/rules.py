"""Rewrite rules as data: identities of one operand, written in the language.

Each holds for EVERY real value of its variable under the protected meaning of the op table, zeros
included, wherever its condition on the variable's sign does; tests try each on a grid and on random
data. Those of inverses and roots follow from the normal form of products too, which `functions.py`
makes in one go; here they have names.

False, and therefore missing: log(a*b) = log(a) + log(b) unless both are positive; exp(log(a)) = a
unless a > 0; a/a = 1 and a/b*b = a unless the divisor is not 0; sqrt(a)*sqrt(a) = a unless a >= 0
(it is relu(a)).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final

from emqlang.grammar.diagnostics import Passage, Source
from emqlang.grammar.expr import Expr, fold
from emqlang.grammar.inputs import Kind
from emqlang.grammar.ops import INPUT
from emqlang.grammar.signs import ANY, NEGATIVE, NONNEGATIVE, POSITIVE, ZERO, Sign
from emqlang.grammar.text.reader import Reader
from emqlang.grammar.text.syntax import read_expression

Make = Callable[..., Expr]  # (op, *canonical operands, exponent=...) -> canonical expression


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule makes `result` of `pattern` where the variable meets `condition`."""

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

_CONDITIONS: Final = {
    "": ANY,
    "a >= 0": NONNEGATIVE,
    "a <= 0": NEGATIVE | ZERO,
    "a > 0": POSITIVE,
    "a < 0": NEGATIVE,
}
_SHAPE = re.compile(r"(\w+)\((?:(\w+)\()?a\)?\)")


@dataclass(frozen=True, slots=True)
class Compiled:
    """A rule to apply: the signs that its variable may have, and the result, a program over it."""

    rule: Rule
    sign: Sign
    result: Expr

    def build(self, operand: Expr, make: Make) -> Expr:
        """The result with the variable replaced, canonical."""

        def built(node: Expr, args: list[Expr]) -> Expr:
            return make(node.op, *args) if args else operand if node.op == INPUT else node

        return fold(self.result, built)


@cache
def dispatch() -> dict[tuple[str, str], list[Compiled]]:
    """(op, operand's op) -> rules over that op's operand; (op, "") -> rules over any operand."""
    variable = {"a": Expr(INPUT, (), "a", b"a", Kind.WEIGHT, ANY, 0)}
    table: dict[tuple[str, str], list[Compiled]] = {}
    for rule in RULES:
        shape = _SHAPE.fullmatch(rule.pattern)
        passage = Passage(Source("<rule>", rule.result), rule.result)
        result = Reader(passage, variable).read(read_expression(passage))
        assert shape and result, rule
        compiled = Compiled(rule, _CONDITIONS[rule.condition], result)
        table.setdefault((shape[1], shape[2] or ""), []).append(compiled)
    return table


def find(op: str, operand: Expr) -> tuple[Compiled, Expr] | None:
    """The first rule for op(operand), with what its variable stands for."""
    table = dispatch()
    inner = operand.args[0] if operand.args else operand
    for child, variable in (("", operand), (operand.op, inner)):
        for compiled in table.get((op, child), ()):
            if variable.sign | compiled.sign == compiled.sign:
                return compiled, variable
    return None
