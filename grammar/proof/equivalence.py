"""Are two programs one? Four answers, from the cheapest to the strongest, each of which stands on its own.

canonical key        the rules make one form of both: proof
Weisfeiler-Lehman    both are one graph as they are built, confirmed by isomorphism: proof
numeric fingerprint  what distinguishes configurations is the same on small layers: no proof, but a difference is one
sympy                proof, where the protections let it
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from types import MappingProxyType

from emqlang.grammar.canonical.form import canonical
from emqlang.grammar.diagnostics import EXIT_NO, EXIT_OK
from emqlang.grammar.expr import Expr
from emqlang.grammar.program import Program
from emqlang.grammar.proof.algebra import prove

SMALL_LAYERS, CHOICES = 16, (2, 3, 4)
TOLERANCE = 1e-6  # of fingerprints, whose largest entry is 1


class Verdict(StrEnum):
    SAME = "same"
    DIFFERENT = "different"
    OPPOSITE = "opposite"  # one is the other's negative, as far as configurations are concerned
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Level:
    """One answer, and what it stands on. `proof` says that it decides the question."""

    name: str
    verdict: Verdict
    detail: str
    proof: bool


@dataclass(frozen=True)
class Identity:
    """Two programs, and every level's answer."""

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
            return "opposite proxies, as far as small layers tell: one ranks as the negative of the other"
        return (
            "not proven, though no small layer tells them apart"
            if Verdict.SAME in verdicts
            else "nothing proves it either way"
        )


def compare(a: Expr, b: Expr, seconds: float) -> Iterator[Level]:
    """All levels, for elaborated programs; `seconds` bounds sympy."""
    yield by_key(a, b)
    yield by_graph(a, b)
    yield by_fingerprint(a, b)
    yield by_sympy(a, b, seconds)


def by_key(a: Expr, b: Expr) -> Level:
    """Whether the rules lead both to one canonical form."""
    keys = [canonical(side).digest.hex()[:12] for side in (a, b)]
    same = keys[0] == keys[1]
    detail = keys[0] if same else f"{keys[0]} and {keys[1]}"
    return Level("canonical key", Verdict.SAME if same else Verdict.UNKNOWN, detail, proof=same)


def by_graph(a: Expr, b: Expr) -> Level:
    """Whether both are one graph as they are built, operands of commutative ops in any order."""
    from emqlang.grammar.proof.graph import isomorphic, wl_hash

    hashes = [wl_hash(side) for side in (a, b)]
    if hashes[0] != hashes[1]:
        return Level(
            "Weisfeiler-Lehman", Verdict.UNKNOWN, "other graphs as they are built", proof=False
        )
    confirmed = isomorphic(a, b)
    detail = (
        "confirmed by isomorphism" if confirmed else "a collision: the graphs are not isomorphic"
    )
    return Level(
        "Weisfeiler-Lehman", Verdict.SAME if confirmed else Verdict.UNKNOWN, detail, proof=confirmed
    )


def by_fingerprint(a: Expr, b: Expr) -> Level:
    """Whether the scores, less those of the first choice and divided by the largest, are the same, or the negative."""
    where = f"on {SMALL_LAYERS} small layers with {len(CHOICES)} choices"
    left, right = _fingerprint(a), _fingerprint(b)
    shared = left.keys() & right.keys()
    if not shared:
        return Level(
            "numeric fingerprint",
            Verdict.UNKNOWN,
            f"no value of an ordinary size {where}",
            proof=False,
        )
    for verdict, sign in ((Verdict.SAME, 1), (Verdict.OPPOSITE, -1)):
        if all(abs(left[at] - sign * right[at]) <= TOLERANCE for at in shared):
            return Level("numeric fingerprint", verdict, where, proof=False)
    return Level("numeric fingerprint", Verdict.DIFFERENT, where, proof=True)


def by_sympy(a: Expr, b: Expr, seconds: float) -> Level:
    """Whether sympy proves it."""
    proven = prove(a, b, seconds)
    detail = {True: "proven", False: "not proven", None: f"not done after {seconds:g} seconds"}[
        proven
    ]
    return Level("sympy", Verdict.SAME if proven else Verdict.UNKNOWN, detail, proof=bool(proven))


def _fingerprint(program: Expr) -> Mapping[tuple[int, int], float]:
    """(layer, choice) -> what the choice adds to the first one's score, over the largest; unclear layers are left out."""
    scores = {
        layer: row for layer in range(SMALL_LAYERS) if (row := _scores(program, layer)) is not None
    }
    added = {
        (layer, i): row[i] - row[0] for layer, row in scores.items() for i in range(1, len(CHOICES))
    }
    largest = max(map(abs, added.values()), default=0.0)
    return MappingProxyType(
        {at: value / largest if largest else 0.0 for at, value in added.items()}
    )


def _scores(program: Expr, layer: int) -> list[float] | None:
    from emqlang.grammar.proof.exact import Unclear, evaluate, sample

    try:
        rows = [
            float(evaluate(program, _inputs(sample, layer, choice, bits)))
            for choice, bits in enumerate(CHOICES)
        ]
    except Unclear:
        return None
    return rows if all(map(isfinite, rows)) else None


def _inputs(
    sample: Callable[[int], dict[str, object]], layer: int, choice: int, bits: int
) -> dict[str, object]:
    """A small layer under one choice: what depends on the choice is drawn anew for each."""
    from emqlang.grammar.inputs import INPUTS, Axis

    own = sample(1_000 * (choice + 1) + layer)
    fixed = sample(layer)
    drawn = {
        name: own[name] if row.axis is not Axis.NONE else fixed[name]
        for name, row in INPUTS.items()
    }
    return drawn | {"bits": bits, "act_bits": bits}
