"""The sympy bridge: simplification and proofs, in a process that is stopped when its time is up.

An op is translated where its operand's sign proves that it is the usual function there. Everything
else, such as inv(w), for sympy would cancel w * inv(w), and every reduction stands as one symbol
with what is known of its sign. So sympy never meets a protection. What it says counts only after
arithmetic with 60 digits agrees. Texts travel between the processes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial, reduce
from typing import Any, Final

from emqlang.grammar import levels
from emqlang.grammar.canonical.form import canonical, whole
from emqlang.grammar.diagnostics import error
from emqlang.grammar.expr import Expr, apply, fold, literal, rebuild
from emqlang.grammar.ops import LITERAL, OPS, Class
from emqlang.grammar.program import parse
from emqlang.grammar.signs import ANY, NEGATIVE, NONNEGATIVE, NONZERO, POSITIVE, ZERO, Sign
from emqlang.grammar.text.printer import show

SECONDS = 10.0
LAYERS = 24  # small layers on which both sides must agree


def simplify(expr: Expr, seconds: float = SECONDS) -> Expr:
    """The smallest form that the rules and sympy find. Raises E502 if that takes over `seconds`."""
    answer = _ask("simplify", seconds, expr)
    if answer is None:
        raise error(
            "E502", f"sympy was not done after {seconds:g} seconds", "give it longer with --seconds"
        )
    return parse(answer).expr


def prove(a: Expr, b: Expr, seconds: float = SECONDS) -> bool | None:
    """True if sympy proves two programs equal, False if it does not, None if its time is up.

    False is no proof of the contrary: `equivalence` finds counterexamples.
    """
    answer = _ask("prove", seconds, a, b)
    return None if answer is None else answer == "equal"


def _ask(task: str, seconds: float, *programs: Expr) -> str | None:
    """The answer of a fresh process, or None if it takes too long."""
    question = json.dumps({"task": task, "programs": [show(program) for program in programs]})
    # -P, for the working directory may hold a folder of our name
    command = [sys.executable, "-P", "-m", __name__]
    try:
        answer = subprocess.run(
            command, input=question, capture_output=True, text=True, timeout=seconds, check=True
        )
    except subprocess.TimeoutExpired:
        return None
    return str(json.loads(answer.stdout))


def _answer() -> None:
    """The other side of `_ask`."""
    question = json.load(sys.stdin)
    programs = [whole(parse(text).expr) for text in question["programs"]]
    json.dump(_TASKS[question["task"]](*programs), sys.stdout)


def _simplified(expr: Expr) -> str:
    return show(_smallest(_inside_out(expr, _smallest)))


def _proven(a: Expr, b: Expr) -> str:
    import sympy

    if (a.level == levels.CONFIGURATION) != (b.level == levels.CONFIGURATION):
        return "not proven"
    symbols = _Symbols()
    left, right = (symbols.image(_inside_out(side, _expanded)) for side in (a, b))
    return "equal" if sympy.simplify(left - right) == 0 and _agree(a, b) else "not proven"


def _inside_out(expr: Expr, rewrite: Callable[[Expr], Expr]) -> Expr:
    """The program, with rewritten operands of what sympy cannot see through, like reductions."""

    def rebuilt(node: Expr, args: list[Expr]) -> Expr:
        return rebuild(node, args if node.op in IMAGES else [*map(rewrite, args)])

    return canonical(fold(expr, rebuilt))


def _smallest(expr: Expr) -> Expr:
    """The smallest of the canonical form and what sympy makes of it; of equals, the first."""
    import sympy

    symbols = _Symbols()
    image = symbols.image(expr)
    ways = (sympy.simplify, sympy.factor, sympy.expand)
    others = [symbols.expression(way(image)) for way in ways]
    forms = [expr, *(form for form in others if form is not None and _is_like(form, expr))]
    agreeing = [form for form in map(canonical, forms) if _agree(form, expr)]
    return min(agreeing, key=lambda form: form.size)


def _expanded(expr: Expr) -> Expr:
    """Products of sums multiplied out, so that what is linear can pass through a reduction."""
    import sympy

    symbols = _Symbols()
    form = symbols.expression(sympy.expand(symbols.image(expr)))
    return form if form is not None and _is_like(form, expr) else expr


def _is_like(form: Expr, expr: Expr) -> bool:
    return form.kind is expr.kind and form.level in (expr.level, levels.CONSTANT)


_TASKS: Mapping[str, Callable[..., str]] = {"simplify": _simplified, "prove": _proven}


def _agree(a: Expr, b: Expr) -> bool:
    from emqlang.grammar.proof.exact import compare

    return all(compare(a, b, LAYERS))


# op -> signs of its last operand under which it is the usual function, and that function
IMAGES: Final[Mapping[str, tuple[Sign, Callable[..., Any]]]] = {
    "add": (ANY, lambda sympy, x, y: x + y),
    "sub": (ANY, lambda sympy, x, y: x - y),
    "mul": (ANY, lambda sympy, x, y: x * y),
    "div": (NONZERO, lambda sympy, x, y: x / y),
    "pow": (ANY, lambda sympy, x, c: x ** sympy.Rational(c)),
    "neg": (ANY, lambda sympy, x: -x),
    "abs": (ANY, lambda sympy, x: sympy.Abs(x)),
    "sign": (ANY, lambda sympy, x: sympy.sign(x)),
    "relu": (ANY, lambda sympy, x: sympy.Max(x, 0)),
    "inv": (NONZERO, lambda sympy, x: 1 / x),
    "sqrt": (NONNEGATIVE, lambda sympy, x: sympy.sqrt(x)),
    "log": (POSITIVE, lambda sympy, x: sympy.log(x)),
    "exp": (ANY, lambda sympy, x: sympy.exp(x)),
    "sigmoid": (ANY, lambda sympy, x: 1 / (1 + sympy.exp(-x))),
}
assert IMAGES.keys() == {op.name for op in OPS.values() if op.cls is Class.ELEMENTWISE}


def _is_usual(node: Expr) -> bool:
    """Whether sympy may see through a node."""
    if node.op not in IMAGES:
        return False
    allowed = IMAGES[node.op][0]
    if node.op == "pow":
        allowed = ANY if node.number == int(node.number) else NONNEGATIVE
        allowed &= ANY if node.number >= 0 else NONZERO
    return node.args[-1].sign | allowed == allowed


class _Symbols:
    """A mapping between symbols and the expressions that they stand for."""

    def __init__(self) -> None:
        self.symbols: dict[bytes, Any] = {}
        self.meanings: dict[Any, Expr] = {}

    def image(self, expr: Expr) -> Any:
        """The expression in sympy."""
        import sympy

        def value(node: Expr, args: list[Any]) -> Any:
            if node.op == LITERAL:
                return sympy.Rational(node.number)
            if not _is_usual(node):
                return self._symbol(node)
            exponent = [node.number] if node.op == "pow" else []
            return IMAGES[node.op][1](sympy, *args, *exponent)

        return fold(expr, value)

    def _symbol(self, node: Expr) -> Any:
        import sympy

        form = canonical(node)
        if form.digest not in self.symbols:
            facts = {name: True for name, signs in _FACTS.items() if form.sign | signs == signs}
            symbol = sympy.Symbol(f"x{len(self.symbols)}", real=True, **facts)
            self.symbols[form.digest], self.meanings[symbol] = symbol, form
        return self.symbols[form.digest]

    def expression(self, image: Any) -> Expr | None:
        """The way back; None for what the language has no words for."""
        import sympy

        if image.is_Symbol:
            return self.meanings[image]
        if image.is_number and image.is_real and abs(value := float(image)) < float("inf"):
            return literal(value)
        if isinstance(image, sympy.Pow) and image.exp.is_number and image.base is not sympy.E:
            base = self.expression(image.base)
            return None if base is None else _power(base, float(image.exp))
        parts = [self.expression(part) for part in sorted(image.args, key=str)]
        rule = next((build for kind, build in _backward(sympy) if isinstance(image, kind)), None)
        known = [part for part in parts if part is not None]
        return rule(known) if rule is not None and len(known) == len(parts) else None


_FACTS = {
    "positive": POSITIVE,
    "negative": NEGATIVE,
    "nonnegative": NONNEGATIVE,
    "nonpositive": NEGATIVE | ZERO,
    "nonzero": NONZERO,
}


def _power(base: Expr, exponent: float) -> Expr:
    if exponent in (-1.0, -0.5):
        return apply("inv", _power(base, -exponent))
    if exponent == 0.5:
        return apply("sqrt", base)
    return base if exponent == 1 else apply("pow", base, exponent=exponent)


def _backward(sympy: Any) -> tuple[tuple[Any, Callable[[list[Expr]], Expr | None]], ...]:
    return (
        (sympy.Add, partial(reduce, partial(apply, "add"))),
        (sympy.Mul, partial(reduce, partial(apply, "mul"))),
        (sympy.exp, lambda parts: apply("exp", parts[-1])),
        (sympy.log, lambda parts: apply("log", parts[0])),
        (sympy.Abs, lambda parts: apply("abs", parts[0])),
        (sympy.sign, lambda parts: apply("sign", parts[0])),
        (sympy.Max, _positive_part),
    )


def _positive_part(parts: list[Expr]) -> Expr | None:
    """max(x, 0); a maximum of two programs has no op."""
    others = [part for part in parts if part.op != LITERAL]
    zeros = [part for part in parts if part.op == LITERAL and not part.value]
    return apply("relu", others[0]) if len(others) == len(zeros) == 1 else None


if __name__ == "__main__":
    _answer()
