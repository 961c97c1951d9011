"""A program as written, in MathML, which browsers typeset without any script."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from emqlang.grammar.expr import Expr, fold
from emqlang.grammar.ops import INPUT, LITERAL, OPS
from emqlang.grammar.text.printer import number

_SUM, _PRODUCT, _POWER, _ATOM = range(4)  # how firmly a form holds together
_HAT: Final = "<mo>‖</mo>"
# op -> template, what its operands must hold together by, what it holds together by
_FORMS: Final[Mapping[str, tuple[str, tuple[int, ...], int]]] = {
    "add": ("{}<mo>+</mo>{}", (_SUM, _SUM), _SUM),
    "sub": ("{}<mo>−</mo>{}", (_SUM, _PRODUCT), _SUM),
    "mul": ("{}<mo>·</mo>{}", (_PRODUCT, _PRODUCT), _PRODUCT),
    "div": ("<mfrac>{}{}</mfrac>", (_SUM, _SUM), _ATOM),
    "neg": ("<mo>−</mo>{}", (_PRODUCT,), _SUM),
    "inv": ("<mfrac><mn>1</mn>{}</mfrac>", (_SUM,), _ATOM),
    "abs": ("<mo>|</mo>{}<mo>|</mo>", (_SUM,), _ATOM),
    "sqrt": ("<msqrt>{}</msqrt>", (_SUM,), _ATOM),
    "square": ("<msup>{}<mn>2</mn></msup>", (_ATOM,), _POWER),
    "exp": ("<msup><mi>e</mi>{}</msup>", (_SUM,), _POWER),
    "l1": (f"<msub><mrow>{_HAT}{{}}{_HAT}</mrow><mn>1</mn></msub>", (_SUM,), _ATOM),
    "l2": (f"<msub><mrow>{_HAT}{{}}{_HAT}</mrow><mn>2</mn></msub>", (_SUM,), _ATOM),
    "total": ("<munder><mo>∑</mo><mi>l</mi></munder>{}", (_PRODUCT,), _SUM),
}
assert _FORMS.keys() <= OPS.keys()


def mathml(expr: Expr) -> str:
    """A `math` element."""
    return f'<math display="inline">{fold(expr, _typeset)[0]}</math>'


def _typeset(node: Expr, operands: list[tuple[str, int]]) -> tuple[str, int]:
    if node.op == INPUT:
        return f"<mi>{node.value}</mi>", _ATOM
    if node.op == LITERAL:
        return _number(node.number)
    if node.op == "pow":
        base, power = _held(operands[0], _ATOM), _number(node.number)[0]
        return f"<msup>{base}{power}</msup>", _POWER
    if node.op in _FORMS:
        template, needs, strength = _FORMS[node.op]
        return _row(template.format(*map(_held, operands, needs))), strength
    inner = "<mo>,</mo>".join(text for text, _ in operands)
    return _row(f"<mi>{node.op}</mi><mo>(</mo>{inner}<mo>)</mo>"), _ATOM


def _held(operand: tuple[str, int], strength: int) -> str:
    """The operand, in parentheses if it would fall apart."""
    text, holds = operand
    return text if holds >= strength else _row(f"<mo>(</mo>{text}<mo>)</mo>")


def _number(value: float) -> tuple[str, int]:
    digits, _, power = number(value).partition("e")
    minus = "<mo>−</mo>" if digits.startswith("-") else ""
    text = f"{minus}<mn>{digits.removeprefix('-')}</mn>"
    if power:
        text += f"<mo>·</mo><msup><mn>10</mn><mn>{int(power)}</mn></msup>"
    return _row(text) if minus or power else text, _SUM if minus else _PRODUCT if power else _ATOM


def _row(text: str) -> str:
    return f"<mrow>{text}</mrow>"
