"""A program as written, in LaTeX; sympy's printer would reorder it and cancel what must stay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from emqlang.grammar.expr import Expr, fold
from emqlang.grammar.inputs import INPUTS
from emqlang.grammar.ops import INPUT, LITERAL, OPS
from emqlang.grammar.text.printer import number

SYMBOLS: Final[Mapping[str, str]] = {
    "w": r"w",
    "grad": r"\nabla_w L",
    "grad_synflow": r"\nabla_w R",
    "hess": r"\operatorname{diag} H",
    "fisher": r"F",
    "x2": r"x^2",
    "qerr": r"\Delta w",
    "act": r"z",
    "grad_act": r"\nabla_z L",
    "hess_trace": r"\operatorname{tr} H",
    "hess_eig": r"\lambda_{\max}(H)",
    "orm": r"\mathrm{orm}",
    "act_var": r"\sigma_z^2",
    "fisher_act": r"F_z",
    "fisher_qerr": r"\Delta w^\top F \Delta w",
    "numel": r"n",
    "act_numel": r"n_z",
    "fan_in": r"n_{\mathrm{in}}",
    "channels_in": r"C_{\mathrm{in}}",
    "channels_out": r"C_{\mathrm{out}}",
    "macs": r"\mathrm{MACs}",
    "depth": r"\ell",
    "bits": r"b",
    "act_bits": r"b_x",
    "act_qerr": r"\overline{\Delta x^2}",
    "out_mse": r"\mathrm{mse}",
    "kl": r"\mathrm{KL}",
    "loss_inc": r"\Delta L",
    "shift": r"v",
    "act_shift": r"v_x",
    "loss_shift": r"\Delta\log p",
}
assert SYMBOLS.keys() == INPUTS.keys()

_SUM, _PRODUCT, _POWER, _ATOM = range(4)  # how firmly a form holds together
# op -> template, what its operands must hold together by, what it holds together by
_FORMS: Final[Mapping[str, tuple[str, tuple[int, ...], int]]] = {
    "add": (r"{} + {}", (_SUM, _SUM), _SUM),
    "sub": (r"{} - {}", (_SUM, _PRODUCT), _SUM),
    "mul": (r"{} \cdot {}", (_PRODUCT, _PRODUCT), _PRODUCT),
    "div": (r"\frac{{{}}}{{{}}}", (_SUM, _SUM), _PRODUCT),
    "neg": (r"-{}", (_PRODUCT,), _SUM),
    "inv": (r"\frac{{1}}{{{}}}", (_SUM,), _PRODUCT),
    "abs": (r"\left|{}\right|", (_SUM,), _ATOM),
    "sqrt": (r"\sqrt{{{}}}", (_SUM,), _ATOM),
    "square": (r"{}^{{2}}", (_ATOM,), _POWER),
    "relu": (r"\left({}\right)^{{+}}", (_SUM,), _POWER),
    "exp": (r"e^{{{}}}", (_SUM,), _POWER),
    "l1": (r"\left\|{}\right\|_{{1}}", (_SUM,), _ATOM),
    "l2": (r"\left\|{}\right\|_{{2}}", (_SUM,), _ATOM),
    "gram": (r"{0} {0}^{{\top}}", (_ATOM,), _PRODUCT),
    "matmul": (r"{} {}^{{\top}}", (_POWER, _ATOM), _PRODUCT),
    "slogdet": (r"\log\left|\det {}\right|", (_PRODUCT,), _ATOM),
    "total": (r"\sum_{{l}} {}", (_PRODUCT,), _SUM),
}
_FUNCTIONS = {
    "log": r"\log",
    "min": r"\min",
    "max": r"\max",
    "sum": r"\sum",
    "mean": r"\operatorname{E}",
}


def latex(expr: Expr) -> str:
    """LaTeX for math mode."""
    return fold(expr, _typeset)[0]


def _typeset(node: Expr, operands: list[tuple[str, int]]) -> tuple[str, int]:
    if node.op == INPUT:
        text = SYMBOLS[str(node.value)]
        return text, _POWER if "^" in text or "{" in text or " " in text else _ATOM
    if node.op == LITERAL:
        return _number(node.number)
    if node.op == "pow":
        return f"{_held(operands[0], _ATOM)}^{{{_number(node.number)[0]}}}", _POWER
    if node.op in _FORMS:
        template, needs, strength = _FORMS[node.op]
        return template.format(*map(_held, operands, needs)), strength
    name = _FUNCTIONS.get(node.op) or r"\operatorname{" + node.op.replace("_", r"\_") + "}"
    return rf"{name}\left({operands[0][0]}\right)", _ATOM


def _held(operand: tuple[str, int], strength: int) -> str:
    """The operand, in parentheses if it would fall apart."""
    text, holds = operand
    return text if holds >= strength else rf"\left({text}\right)"


def _number(value: float) -> tuple[str, int]:
    digits, _, power = number(value).partition("e")
    text = rf"{digits} \cdot 10^{{{int(power)}}}" if power else digits
    return text, _SUM if value < 0 else _PRODUCT if power else _ATOM


assert _FORMS.keys() | _FUNCTIONS.keys() <= OPS.keys() and not _FORMS.keys() & _FUNCTIONS.keys()
