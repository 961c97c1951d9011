"""Are two programs one? Four independent answers, from the cheapest to the strongest.

canonical key        the rules make one form of both: proof
Weisfeiler-Lehman    both are one graph as they are built, confirmed by isomorphism: proof
numeric fingerprint  small layers tell configurations apart alike: no proof, but a difference is one
sympy                proof, where the protections let it
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from math import isfinite
from typing import Any

from emqlang.grammar import levels
from emqlang.grammar.canonical.form import whole
from emqlang.grammar.diagnostics import EXIT_NO, EXIT_OK
from emqlang.grammar.expr import Expr
from emqlang.grammar.inputs import INPUTS
from emqlang.grammar.program import Program
from emqlang.grammar.proof.algebra import prove
from emqlang.grammar.proof.graph import isomorphic, wl_hash

SMALL_LAYERS, CHOICES = 16, (2, 3, 4)
SMALL_NETWORKS, LAYERS = 6, 2  # for programs that do not separate
TOLERANCE = 1e-6  # of fingerprints, whose largest entry is 1


class Verdict(StrEnum):
    SAME = "same"
    DIFFERENT = "different"
    OPPOSITE = "opposite"  # one is the other's negative, as far as configurations are concerned
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Level:
    """A level is one answer, and what it stands on; `proof` says that it decides the question."""

    name: str
    verdict: Verdict
    detail: str
    proof: bool


@dataclass(frozen=True)
class Identity:
    """An identity is every level's answer on two programs."""

    first: Program
    second: Program
    levels: tuple[Level, ...]

    @classmethod
    def of(cls, first: Program, second: Program, seconds: float) -> Identity:
        return cls(first, second, tuple(compare(first.elaborated, second.elaborated, seconds)))

    @property
    def same(self) -> bool:
        """Whether a proof says so."""
        return any(level.proof and level.verdict is Verdict.SAME for level in self.levels)

    @property
    def exit_status(self) -> int:
        return EXIT_OK if self.same else EXIT_NO

    @property
    def answer(self) -> str:
        if self.same:
            return "the same proxy"
        verdicts = {level.verdict for level in self.levels}
        if Verdict.DIFFERENT in verdicts:
            return "different proxies"
        if Verdict.OPPOSITE in verdicts:
            ranks = "one ranks as the negative of the other"
            return f"opposite proxies, as far as small layers tell: {ranks}"
        if Verdict.SAME in verdicts:
            return "not proven, though no small layer tells them apart"
        return "nothing proves it either way"


def compare(a: Expr, b: Expr, seconds: float) -> Iterator[Level]:
    """All levels, for elaborated programs; `seconds` bounds sympy."""
    yield by_key(a, b)
    yield by_graph(a, b)
    yield by_fingerprint(a, b)
    yield by_sympy(a, b, seconds)


def by_key(a: Expr, b: Expr) -> Level:
    """Whether the rules lead both to one canonical form."""
    left, right = (whole(side).digest.hex()[:12] for side in (a, b))
    if left != right:
        return Level("canonical key", Verdict.UNKNOWN, f"{left} and {right}", proof=False)
    return Level("canonical key", Verdict.SAME, left, proof=True)


def by_graph(a: Expr, b: Expr) -> Level:
    """Whether both are one graph as they are built, operands of commutative ops in any order."""
    name = "Weisfeiler-Lehman"
    if wl_hash(a) != wl_hash(b):
        return Level(name, Verdict.UNKNOWN, "other graphs as they are built", proof=False)
    if not isomorphic(a, b):
        detail = "a collision: the graphs are not isomorphic"
        return Level(name, Verdict.UNKNOWN, detail, proof=False)
    return Level(name, Verdict.SAME, "confirmed by isomorphism", proof=True)


def by_fingerprint(a: Expr, b: Expr) -> Level:
    """Whether what choices add to the score, over the largest, is the same, or the negative."""
    name, forms = "numeric fingerprint", [whole(side) for side in (a, b)]
    together = any(form.level == levels.CONFIGURATION for form in forms)
    small = f"{SMALL_NETWORKS} networks of {LAYERS}" if together else f"{SMALL_LAYERS}"
    where = f"on {small} small layers with {len(CHOICES)} choices"
    left, right = (_fingerprint(side, together) for side in (a, b))
    shared = left.keys() & right.keys()
    if not shared:
        return Level(name, Verdict.UNKNOWN, f"no value of an ordinary size {where}", proof=False)
    for verdict, sign in ((Verdict.SAME, 1), (Verdict.OPPOSITE, -1)):
        if all(abs(left[at] - sign * right[at]) <= TOLERANCE for at in shared):
            return Level(name, verdict, where, proof=False)
    return Level(name, Verdict.DIFFERENT, where, proof=True)


def by_sympy(a: Expr, b: Expr, seconds: float) -> Level:
    """Whether sympy proves it."""
    proven = prove(a, b, seconds)
    if proven is None:
        return Level("sympy", Verdict.UNKNOWN, f"not done after {seconds:g} seconds", proof=False)
    if not proven:
        return Level("sympy", Verdict.UNKNOWN, "not proven", proof=False)
    return Level("sympy", Verdict.SAME, "proven", proof=True)


def _fingerprint(program: Expr, together: bool) -> dict[tuple[int, int], float]:
    """(place, configuration) -> what it adds to the first one's score, over the largest.

    A place is a small layer, whose configurations are its choices; or, with `together`, a small
    network. Where a value is unclear, the place is left out.
    """
    added: dict[tuple[int, int], float] = {}
    for place in range(SMALL_NETWORKS if together else SMALL_LAYERS):
        first, *others = _scores(program, place, LAYERS if together else 1) or [0.0]
        added |= {(place, i): score - first for i, score in enumerate(others, 1)}
    largest = max(map(abs, added.values()), default=0.0)
    return {at: value / largest if largest else 0.0 for at, value in added.items()}


def _scores(program: Expr, place: int, layers: int) -> list[float] | None:
    """The score of every configuration of a small network; None if one is unclear or not finite."""
    from emqlang.grammar.proof.exact import Unclear, evaluate, joined, terms

    menus = [_menu(place + 100_000 * layer) for layer in range(layers)]
    try:
        if program.level == levels.CONFIGURATION:
            added = [[terms(program, inputs) for inputs in menu] for menu in menus]
            scores = [float(joined(program, configuration)) for configuration in product(*added)]
        else:
            values = [[float(evaluate(program, inputs)) for inputs in menu] for menu in menus]
            scores = list(map(sum, product(*values)))
    except Unclear:
        return None
    return scores if all(map(isfinite, scores)) else None


def _menu(layer: int) -> list[dict[str, Any]]:
    """A small layer's statistics under each choice; what depends on the choice is drawn anew."""
    from emqlang.grammar.proof.exact import sample

    fixed, menu = sample(layer), list[dict[str, Any]]()
    for choice, bits in enumerate(CHOICES):
        drawn = sample(1_000 * (choice + 1) + layer)
        inputs = {name: (drawn if row.axis else fixed)[name] for name, row in INPUTS.items()}
        menu.append(inputs | {"bits": bits, "act_bits": bits})
    return menu
