"""Syntax tree to expression: what the parts stand for, and every mistake among them at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from emqlang.grammar import signs
from emqlang.grammar.diagnostics import Diagnostic, Passage, Span, nearest
from emqlang.grammar.expr import Expr, apply, literal, statistic
from emqlang.grammar.inputs import INPUTS
from emqlang.grammar.kinds import KindError, describe
from emqlang.grammar.ops import CALLS, INFIX, LITERAL, OPS
from emqlang.grammar.signs import NEGATIVE
from emqlang.grammar.text.syntax import Form, Node, parts

MAX_SIZE = 10_000
MAX_ERRORS = 5
_INFIX = {op: f"x {infix} {'2' if op == 'pow' else 'y'}" for infix, op in INFIX.items()}
# What people write who know other languages: each as it is written here.
_ELSEWHERE = {
    "ln": "log(x)",
    "log1p": "log(1 + x)",
    "avg": "mean(x)",
    "average": "mean(x)",
    "stdev": "std(x)",
    "variance": "var(x)",
    "norm": "l2(x)",
    "sqr": "square(x)",
    "tanh": "2 * sigmoid(2 * x) - 1",
    "W": "w",
    "weight": "w",
    "weights": "w",
    "gradient": "grad",
    "activation": "act",
    "activations": "act",
    "hessian": "hess",
    "params": "numel",
    "size": "numel",
}
_WRITTEN = {"neg": "-x", **_INFIX, **_ELSEWHERE}
_TWO = {"max": "relu(x) is max(x, 0)", "min": "-relu(-x) is min(x, 0)"}  # of two values
_FUNCTIONS = frozenset(CALLS)


@dataclass
class Reader:
    """A reader makes expressions of the trees of one passage.

    names  what names stand for; None where a name's text is wrong: its uses are not reported again
    later  what to say of a name that is bound further down, None for any other
    """

    passage: Passage
    names: Mapping[str, Expr | None]
    later: Callable[[str], tuple[str, str] | None] = lambda name: None
    errors: list[Diagnostic] = field(default_factory=list)
    warnings: list[Diagnostic] = field(default_factory=list)

    def read(self, tree: Node) -> Expr | None:
        """The expression, or None if any part of it is wrong."""
        values: list[Expr | None] = []
        for node in parts(tree):
            first = len(values) - len(node.operands)
            operands = values[first:]
            del values[first:]
            values.append(self._value(node, operands))
            if len(self.errors) == MAX_ERRORS:
                return None
        expr = values.pop()
        if expr is not None and expr.size > MAX_SIZE:
            self._report("E106", _too_large(expr.size), tree.span)
            return None
        return expr

    def _value(self, node: Node, operands: list[Expr | None]) -> Expr | None:
        if node.form is Form.NUMBER:
            return self._number(node)
        if node.form is Form.NAME:
            return self._name(node)
        if node.form is Form.CALL and not self._callable(node):
            return None
        args = [operand for operand in operands if operand is not None]
        if len(args) < len(operands):
            return None
        if node.text == "**":
            return self._power(node, *args)
        op = {Form.CALL: node.text, Form.MINUS: "neg"}.get(node.form) or INFIX[node.text]
        return self._apply(node, op, args)

    def _number(self, node: Node) -> Expr | None:
        value = float(node.text)
        if math.isfinite(value):
            return literal(value)
        message = f"'{_short(node.text)}' is not a finite float64"
        self._report("E110", message, node.span, "", "the largest is 1.7976931348623157e308")
        return None

    def _name(self, node: Node) -> Expr | None:
        name = node.text
        if name in self.names:
            return self.names[name]
        if name in INPUTS:
            return statistic(name)
        if name in _FUNCTIONS:
            message = f"'{name}' is a function of one value"
            self._report("E103", message, node.mark, "no argument", f"write {name}(...)")
        elif later := self.later(name):
            self._report("E109", later[0], node.mark, "", later[1])
        else:
            self._unknown(node, "not a statistic or function", (*self.names, *INPUTS, *CALLS))
        return None

    def _callable(self, node: Node) -> bool:
        """Whether a call names a function and has as many arguments as it takes; reports if not."""
        name, operands = node.text, node.operands
        if name in _FUNCTIONS:
            if len(operands) == OPS[name].arity:
                return True
            message = f"'{name}' takes {OPS[name].arity} argument, got {len(operands)}"
            extra = Span(operands[1].span.start, operands[-1].span.end) if operands else node.span
            self._report("E103", message, extra, "", *filter(None, (_TWO.get(name),)))
        elif name in INPUTS or name in self.names or self.later(name):
            what = "statistic" if name in INPUTS else "name for an expression"
            message = f"'{name}' is a {what} and takes no arguments"
            self._report("E103", message, node.mark, "", f"a product is written {name} * (...)")
        else:
            self._unknown(node, "not a function", CALLS)
        return False

    def _unknown(self, node: Node, label: str, known: tuple[str, ...]) -> None:
        from emqlang.grammar.paper import NAMES

        name, help = node.text, nearest(node.text, known)
        if name in _WRITTEN:
            help = (f"'{name}' is written {_WRITTEN[name]}",)
        elif name in NAMES:
            help = (f"the paper's '{name}' is {NAMES[name].text} here",)
        self._report("E102", f"unknown name '{_short(name)}'", node.mark, label, *help)

    def _power(self, node: Node, base: Expr, exponent: Expr) -> Expr | None:
        negated = exponent.op == "neg" and exponent.args[0].op == LITERAL
        power = exponent.args[0] if negated else exponent
        if power.op != LITERAL:
            message, place = "the right side of ** must be a literal number", node.operands[1].span
            self._report("E203", message, place, "", "x ** y is exp(y * log(x)) for positive x")
            return None
        return self._apply(node, "pow", [base], -power.number if negated else power.number)

    def _apply(
        self, node: Node, op: str, args: list[Expr], exponent: float | None = None
    ) -> Expr | None:
        try:
            expr = apply(op, *args, exponent=exponent)
        except KindError as error:
            at = 0 if len(args) == 1 else error.operand
            place = node.mark if at is None else node.operands[at].span
            shown = args if at is None else [args[at]]
            label = " and ".join(describe(arg.kind, arg.level) for arg in shown)
            self._report(error.code, error.message, place, label, *error.help)
            return None
        whole = exponent is not None and exponent.is_integer()
        if op in _DOMAINS and args[0].sign & NEGATIVE and not whole:
            self._warn(node, op, args[0])
        return expr

    def _warn(self, node: Node, op: str, argument: Expr) -> None:
        """W601: a value that may be negative where the op is only usual for positive ones."""
        inner = node.operands[0]
        text = self.passage.quote(inner.span)
        bare = text[1:-1] if op == "pow" and text[0] == "(" else text
        shown = f"abs({bare})" if len(bare) <= 40 and "#" not in bare else "abs(...)"
        mended = f"{op}({shown})"
        if op == "pow":
            mended = f"{shown} ** {self.passage.quote(node.operands[1].span)}"
        sign, help = signs.describe(argument.sign), (f"did you mean {mended}?",)
        self.warnings.append(self.passage.diagnostic("W601", _DOMAINS[op], inner.span, sign, help))

    def _report(self, code: str, message: str, span: Span, label: str = "", *help: str) -> None:
        self.errors.append(self.passage.diagnostic(code, message, span, label, help))


_DOMAINS = {
    "log": "'log' may meet negative values, where it is 0",
    "sqrt": "'sqrt' may meet negative values, where it is 0",
    "pow": "a power that is not an integer may meet negative values, where it is 0",
}


def _too_large(size: int) -> str:
    nodes = f"{size:,}" if size < 10**9 else f"about 10^{int(math.log10(size))}"
    means = "once its names are replaced by what they stand for"
    return f"the program has {nodes} nodes {means}; {MAX_SIZE:,} is the limit"


def _short(name: str) -> str:
    return name if len(name) <= 40 else name[:39] + "…"
