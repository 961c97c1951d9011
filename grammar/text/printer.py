"""Expression to text, such that `parse(show(x)).expr == x`, with no needless parenthesis."""

from __future__ import annotations

from emqlang.grammar.expr import Expr
from emqlang.grammar.ops import INPUT, LITERAL, OPS
from emqlang.grammar.signs import NEGATIVE

SUM, PRODUCT, UNARY, POWER, ATOM = range(5)
_LEVELS = {"add": SUM, "sub": SUM, "mul": PRODUCT, "div": PRODUCT, "matmul": PRODUCT}

# text, or an operand with the loosest level that needs no parentheses there
Part = str | tuple[Expr, int]


def show(expr: Expr) -> str:
    """The expression in the language; time and space linear in the text."""
    pieces: list[str] = []
    stack: list[Part] = [(expr, SUM)]
    while stack:
        part = stack.pop()
        if isinstance(part, str):
            pieces.append(part)
            continue
        node, loosest = part
        level, parts = _parts(node)
        stack.extend(reversed(parts if level >= loosest else ("(", *parts, ")")))
    return "".join(pieces)


def number(value: float) -> str:
    """A finite number by its shortest digits; an integer without a point."""
    return str(int(value)) if value.is_integer() and abs(value) < 1e16 else repr(value)


def _parts(node: Expr) -> tuple[int, tuple[Part, ...]]:
    """How tightly a node binds, and what it is written as."""
    if node.op == INPUT:
        return ATOM, (str(node.value),)
    if node.op == LITERAL:
        return UNARY if node.number < 0 else ATOM, (number(node.number),)
    if node.op in _LEVELS:
        level = _LEVELS[node.op]
        left, right = node.args
        return level, ((left, level), f" {OPS[node.op].infix} ", (right, level + 1))
    if node.op == "pow":
        return POWER, ((node.args[0], ATOM), f" ** {number(node.number)}")
    (operand,) = node.args
    if node.op == "neg":
        positive = (
            operand.op == LITERAL and not operand.sign & NEGATIVE
        )  # -2 reads as a literal, -(2) does not
        return UNARY, ("-", (operand, ATOM + 1 if positive else UNARY))
    return ATOM, (node.op, "(", (operand, SUM), ")")
