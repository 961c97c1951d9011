"""The normal forms of products, powers and sums, from operands that are canonical.

    product   powers of distinct bases, layer values first, then by digest, the literal factor last
    power     of a product: an integer passes to every factor, another to the factors that are >= 0
    sum       distinct products with literal coefficients, in the same order, the constant last

What functions of products and sums become is in `functions.py`; what reductions, composites and
structured ops become, in `reductions.py`; and where these know nothing, a rule of `rules.py` may.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

from emqlang.grammar.canonical import rules
from emqlang.grammar.canonical.literals import folded, power_of, sound, times
from emqlang.grammar.expr import Expr, apply, literal
from emqlang.grammar.inputs import Kind
from emqlang.grammar.ops import LITERAL
from emqlang.grammar.signs import NONNEGATIVE, POSITIVE, ZERO

Factors = list[tuple[Expr, float]]  # bases and exponents
Lower = Callable[[Expr, Expr], Expr]  # of a canonical operand, and of one of the kind it had before
Function = Callable[[Expr], Expr | None]  # None where the rules apply

# The normal forms need each other, so that `make` finds them in tables; other files add theirs.
JOINED: dict[str, Callable[[Sequence[Expr]], Expr]] = {}  # op of two operands -> the normal form
LOWERED: dict[str, Lower] = {}  # op of one operand -> what it becomes whatever that is
FUNCTIONS: dict[str, Function] = {}  # op of one operand -> what it becomes of a product or sum


def make(op: str, *operands: Expr, exponent: float | None = None, was: Expr | None = None) -> Expr:
    """The canonical form of one op on canonical operands.

    was  the operand before its kind came down
    """
    if op in JOINED:
        return JOINED[op](operands)
    (x,) = operands
    if exponent is not None:
        return power(x, exponent)
    if op in LOWERED:
        return LOWERED[op](x, was or x)
    if x.op == LITERAL and (value := folded(op, x.number)) is not None:
        return literal(value)
    if op in FUNCTIONS and x.op in _COMPOUND and (form := FUNCTIONS[op](x)) is not None:
        return form
    match = rules.find(op, x)
    return match[0].build(match[1], make) if match else apply(op, x)


# products: coefficient * bases ** exponents


def product(operands: Sequence[Expr], signs: Sequence[float] = ()) -> Expr:
    """The normal form of a product; `signs` are the exponents, 1 or -1, of its operands."""
    if operands and -1.0 not in signs and _plain(operands, _FACTORS):
        return _joined("mul", operands)
    coefficient = 1.0
    factors: Factors = []
    for operand, sign in zip(operands, signs or (1.0,) * len(operands), strict=True):
        scale, parts = split(operand)
        coefficient = times(coefficient, scale if sign > 0 else power_of(scale, -1.0))
        factors += parts if sign > 0 else [(base, -exponent) for base, exponent in parts]
    return build(coefficient, factors)


def _plain(operands: Sequence[Expr], special: frozenset[str]) -> bool:
    """Whether the operands are distinct and none can merge with another: the usual case."""
    for operand in operands:
        if operand.op in special:
            return False
    return len(operands) == len({operand.digest for operand in operands})


def _joined(op: str, parts: Iterable[Expr]) -> Expr:
    """A left-deep chain in canonical order."""
    first, *rest = sorted(parts, key=_rank)
    for part in rest:
        first = apply(op, first, part)
    return first


def split(x: Expr) -> tuple[float, Factors]:
    """A canonical expression as coefficient and factors."""
    if x.op == LITERAL:
        return x.number, []
    coefficient, factors, rest = 1.0, [], x
    while rest.op == "mul":
        rest, last = rest.args
        if last.op == LITERAL:
            coefficient = times(coefficient, last.number)
        else:
            factors.append(_factor(last))
    factors.append(_factor(rest))
    return coefficient, factors


def _factor(x: Expr, sign: float = 1.0) -> tuple[Expr, float]:
    """A factor as base and exponent; under a fractional exponent the base is what is >= 0 of it."""
    if x.op == "inv":
        return _factor(x.args[0], -1.0)
    if x.op == "sqrt":
        return _nonnegative(x.args[0]), sign * 0.5
    if x.op == "pow":
        exponent = x.number
        return (
            x.args[0] if exponent == int(exponent) else _nonnegative(x.args[0])
        ), sign * exponent
    return x, sign


def _nonnegative(x: Expr) -> Expr:
    return x if x.sign | NONNEGATIVE == NONNEGATIVE else make("relu", x)


def build(coefficient: float, factors: Factors) -> Expr:
    """The normal form of coefficient * product of base ** exponent."""
    if coefficient == 0:
        return literal(0)
    if not math.isfinite(coefficient):
        raise ArithmeticError(coefficient)
    if len(factors) == 1 and factors[0][1] == 1 and factors[0][0].op not in _NOT_ALONE:
        return scaled(factors[0][0], coefficient)
    coefficient, powers = _merge(coefficient, factors)
    if (
        not sound(coefficient) or coefficient == 0
    ):  # under- or overflow of the literals: keep them apart
        raise ArithmeticError(coefficient)
    if len(powers) == 1 and powers[0][1] == 1 and powers[0][0].op == "add":
        return total([powers[0][0]], coefficient)
    terms = _emit(powers)
    return scaled(_joined("mul", terms), coefficient) if terms else literal(coefficient)


@lru_cache(8192)
def scaled(x: Expr, coefficient: float) -> Expr:
    return x if coefficient == 1 else apply("mul", x, literal(coefficient))


def _rank(x: Expr) -> tuple[bool, bytes]:
    """Layer values first, so that they meet before they meet a tensor."""
    return x.kind is not Kind.LAYER, x.digest


_SPLITS = frozenset(("mul", "inv", "pow", "sqrt", LITERAL))  # what has bases of its own
_WHOLE = frozenset(("mul", "pow", "sqrt"))  # may be >= 0 under a root though its factors are not
_NOT_ALONE = _SPLITS | {"add", "abs"}  # what a coefficient meets in more than one way
_FACTORS = _NOT_ALONE | {"exp", "sign"}  # what may merge with other factors
_TERMS = frozenset(("add", "mul", "relu", LITERAL))  # what may merge with other terms
_COMPOUND = _SPLITS | {"add"}  # what a function looks into


def _merge(coefficient: float, factors: Factors) -> tuple[float, Factors]:
    """One entry per base, and one more where a ** n * inv(a) ** n, 0 where a is, must stay."""
    if _settled(factors):
        return coefficient, factors
    ups: dict[bytes, float] = {}
    downs: dict[bytes, float] = {}
    bases: dict[bytes, Expr] = {}
    exponent_of_e: list[Expr] = []
    queue: dict[tuple[bytes, bool], tuple[Expr, float]] = {}

    def push(base: Expr, exponent: float) -> None:
        """Equal bases meet before any is taken apart, lest shared parts be counted one by one."""
        at = (base.digest, exponent > 0)
        queue[at] = (base, exponent + (queue[at][1] if at in queue else 0.0))

    for base, exponent in factors:
        push(base, exponent)
    while queue:
        base, exponent = queue.pop(next(iter(queue)))
        if base.op == "exp":
            exponent_of_e.append(product([base.args[0], literal(exponent)]))
        elif (inside := _inside(base, exponent)) is not None:
            coefficient = times(coefficient, inside[0])
            for factor in inside[1]:
                push(*factor)
        else:
            if base.op == "add" and exponent == int(exponent) and leading(base) < 0:
                base, coefficient = negate(base), coefficient * (-1.0 if exponent % 2 else 1.0)
            if base.op == "sign":  # its own inverse
                exponent = abs(exponent)
            side = ups if exponent > 0 else downs
            side[base.digest] = side.get(base.digest, 0.0) + exponent
            bases[base.digest] = base
            if base.op == "abs" and side[base.digest] % 2 == 0:
                push(base.args[0], side.pop(base.digest))
    merged = [
        (base, exponent)
        for digest, base in bases.items()
        for exponent in _met(base, ups.get(digest, 0.0), downs.get(digest, 0.0))
    ]
    if exponent_of_e:
        merged.append((make("exp", total(exponent_of_e)), 1.0))
    return coefficient, merged


def _inside(base: Expr, exponent: float) -> tuple[float, Factors] | None:
    """A power as a coefficient and powers of what its base is made of; None for a true base."""
    if base.op == "abs" and exponent % 2 == 0:
        return 1.0, [(base.args[0], exponent)]
    if base.op in _SPLITS and not (base.op in _WHOLE and exponent != int(exponent)):
        scale, parts = split(base)
        return power_of(scale, exponent), [(part, inner * exponent) for part, inner in parts]
    if base.op == "abs" and base.args[0].op == "mul":
        _, parts = split(base.args[0])
        return 1.0, [(make("abs", part), inner * exponent) for part, inner in parts]
    return None


def _met(base: Expr, up: float, down: float) -> tuple[float, ...]:
    """The exponents of a base that positive and negative ones leave."""
    if base.op == "sign" and up:  # a root is taken of 0 or 1 alone
        return (1.0 if up % 1 else 2.0 - up % 2,)
    if up + down:
        return (up + down,)
    return (1.0, -1.0) if up and base.sign & ZERO else ()


def _settled(factors: Factors) -> bool:
    """Whether the bases are distinct and none can be split or meet another: the usual case."""
    for base, exponent in factors:
        if base.op in _FACTORS and not (
            base.op == "abs" and exponent == 1 and base.args[0].op != "mul"
        ):
            return False
    return len(factors) == len({base.digest for base, _ in factors})


def _emit(powers: Factors) -> list[Expr]:
    """The factors as expressions; absolute values of tensors meet in one, which is cheaper."""
    plain, inside = [], []
    for base, exponent in powers:
        if base.op == "abs" and exponent == 1 and base.kind is not Kind.LAYER:
            inside.append(base.args[0])
        else:
            plain.append(_emit_one(base, exponent))
    if inside:
        plain.append(
            apply("abs", build(1.0, [(x, 1.0) for x in inside]) if len(inside) > 1 else inside[0])
        )
    return [x for x in plain if not (x.op == LITERAL and x.value == 1)]


@lru_cache(8192)
def _emit_one(base: Expr, exponent: float) -> Expr:
    if exponent == 1:
        return base
    if exponent < 0 and exponent in (-1.0, -0.5):
        return apply("inv", _emit_one(base, -exponent))
    if exponent == int(exponent):
        return apply("pow", base, exponent=exponent)
    bare = base.args[0] if base.op == "relu" else base  # a root takes the positive part itself
    return apply("sqrt", bare) if exponent == 0.5 else apply("pow", bare, exponent=exponent)


def power(x: Expr, exponent: float) -> Expr:
    """x ** exponent. An integer passes to every factor; another to those that are >= 0.

    Of a factor that may be negative, the even part of its exponent is such a factor.
    """
    if exponent == 0:
        return literal(1)
    if exponent == 0.5 and x.op not in _FACTORS and x.sign & POSITIVE:
        return apply("sqrt", x.args[0] if x.op == "relu" else x)
    coefficient, factors = split(x)
    if exponent == int(exponent):
        return build(
            power_of(coefficient, exponent), [(base, inner * exponent) for base, inner in factors]
        )
    if coefficient == 0 or not factors:
        return literal(power_of(max(coefficient, 0.0), exponent))
    outside, inside = sift(factors)
    negative = -1.0 if coefficient < 0 else 1.0
    rest = build(negative, inside) if inside else literal(negative)
    if not rest.sign & POSITIVE:
        return literal(0)
    powers = [(base, inner * exponent) for base, inner in outside]
    if rest.op == "inv":
        powers.append((_nonnegative(rest.args[0]), -exponent))
    elif rest.op != LITERAL:
        powers.append((_nonnegative(rest), exponent))
    return build(power_of(abs(coefficient), exponent), powers)


def sift(factors: Factors) -> tuple[Factors, Factors]:
    """Factors that are >= 0, as such, and what is left of the others with its sign."""
    outside: Factors = []
    inside: Factors = []
    for base, exponent in factors:
        if base.sign | NONNEGATIVE == NONNEGATIVE:
            outside.append((base, exponent))
        else:
            odd = exponent % 2
            even = exponent - math.copysign(odd, exponent)
            if even:
                outside.append((make("abs", base), even))
            if odd:
                inside.append((base, math.copysign(odd, exponent)))
    return outside, inside


# sums: coefficients * products + constant


def total(operands: Sequence[Expr], scale: float = 1.0, signs: Sequence[float] = ()) -> Expr:
    """The normal form of a sum, times a literal; `signs` are those, 1 or -1, of its operands."""
    if scale == 1 and -1.0 not in signs and _plain(operands, _TERMS):
        return _joined("add", operands)
    constant = 0.0
    terms: dict[bytes, tuple[float, Expr]] = {}
    for operand, sign in zip(operands, signs or (1.0,) * len(operands), strict=True):
        for coefficient, term in terms_of(operand):
            if term is None:
                constant += sign * coefficient
            else:
                known, _ = terms.get(term.digest, (0.0, term))
                terms[term.digest] = (known + sign * coefficient, term)
    pairs = [(coefficient, term) for coefficient, term in terms.values() if coefficient]
    if scale != 1:
        constant = times(constant, scale)
        pairs = [(times(coefficient, scale), term) for coefficient, term in pairs]
    if sum(term.op == "relu" for _, term in pairs) > 1 and (met := _meet(pairs)) is not None:
        return total([*met, literal(constant)])
    if not all(map(math.isfinite, (constant, *(coefficient for coefficient, _ in pairs)))):
        raise ArithmeticError(constant)
    parts = [
        scaled(term, coefficient)
        for coefficient, term in sorted(pairs, key=lambda pair: _rank(pair[1]))
    ]
    if constant or not parts:
        parts.append(literal(constant))
    result = parts[0]
    for part in parts[1:]:
        result = apply("add", result, part)
    return result


def terms_of(x: Expr) -> list[tuple[float, Expr | None]]:
    """A canonical expression as coefficients and products; None is the constant."""
    terms: list[tuple[float, Expr | None]] = []
    while x.op == "add":
        x, last = x.args
        terms.append(_term(last))
    terms.append(_term(x))
    return terms[::-1]


def _term(x: Expr) -> tuple[float, Expr | None]:
    if x.op == LITERAL:
        return x.number, None
    if x.op == "mul" and x.args[1].op == LITERAL:
        return x.args[1].number, x.args[0]
    return 1.0, x


def _meet(pairs: list[tuple[float, Expr]]) -> list[Expr] | None:
    """c relu(x) + d relu(-x) = (c - d)/2 x + (c + d)/2 |x| for the first such pair, or None."""
    coefficients = {term.digest: coefficient for coefficient, term in pairs}
    for coefficient, term in pairs:
        if term.op != "relu":
            continue
        x = term.args[0]
        mirror = make("relu", negate(x))
        other, rest = _term(mirror)
        if rest is not None and rest.digest in coefficients and rest.digest != term.digest:
            d = coefficients[rest.digest] / other
            others = [scaled(t, c) for c, t in pairs if t.digest not in (term.digest, rest.digest)]
            half = [
                product([x, literal((coefficient - d) / 2)]),
                product([make("abs", x), literal((coefficient + d) / 2)]),
            ]
            return [*others, *half]
    return None


def leading(x: Expr) -> float:
    """The coefficient of a sum's first product by digest: it tells a sum from its negative."""
    terms = ((term.digest, coefficient) for coefficient, term in terms_of(x) if term is not None)
    return min(terms, default=(b"", 1.0))[1]  # literals alone, which would overflow


def negate(x: Expr) -> Expr:
    return total([x], -1.0) if x.op == "add" else product([x, literal(-1)])


JOINED |= {
    "add": total,
    "mul": product,
    "sub": lambda pair: total(pair, signs=(1.0, -1.0)),
    "div": lambda pair: product(pair, (1.0, -1.0)),
}
LOWERED["neg"] = lambda x, was: negate(x)
