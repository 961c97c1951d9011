"""Variation: a child from one or two parents. Every operator keeps the kind at the place where it works.

An operator returns None where the parents offer it no place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from types import MappingProxyType

from emqlang.evolve.space import EXPONENTS, Space
from emqlang.grammar.expr import LITERAL, Expr, apply, literal, rebuild

Path = tuple[int, ...]  # which operand, from the root down
MUTATED_DEPTH = 3  # of what a mutation grows
TRIES = 8


@dataclass(frozen=True, slots=True)
class Place:
    """A node of a program, and where it is."""

    path: Path
    node: Expr


def place(program: Expr, rng: Random) -> Place:
    """A node drawn evenly from all, sharing expanded."""
    left, path, node = rng.randrange(program.size), (), program
    while left:
        left -= 1
        for i, arg in enumerate(node.args):
            if left < arg.size:
                path, node = (*path, i), arg
                break
            left -= arg.size
    return Place(path, node)


def place_of(program: Expr, rng: Random, wanted: Callable[[Expr], bool]) -> Place | None:
    """A drawn node that is wanted, if one turns up."""
    for _ in range(TRIES):
        found = place(program, rng)
        if wanted(found.node):
            return found
    return None


def put(program: Expr, path: Path, new: Expr) -> Expr:
    """The program with another node at a path."""
    if not path:
        return new
    args = list(program.args)
    args[path[0]] = put(args[path[0]], path[1:], new)
    return rebuild(program, tuple(args))


def crossover(a: Expr, b: Expr, space: Space, rng: Random) -> Expr | None:
    """A part of b, of the same kind, in the place of a part of a."""
    hole = place(a, rng)
    graft = place_of(b, rng, lambda node: node.kind is hole.node.kind)
    return put(a, hole.path, graft.node) if graft else None


def regrow(a: Expr, b: Expr, space: Space, rng: Random) -> Expr | None:
    """A new part in the place of an old one."""
    hole = place(a, rng)
    return put(a, hole.path, space.grow(hole.node.kind, rng.randint(1, MUTATED_DEPTH), rng))


def point(a: Expr, b: Expr, space: Space, rng: Random) -> Expr | None:
    """Another op on the same operands, or another statistic of the same kind."""
    spot = place(a, rng)
    node = spot.node
    if not node.args:
        return put(a, spot.path, rng.choice(space.leaves[node.kind])) if space.leaves[node.kind] else None
    kinds = tuple(arg.kind for arg in node.args)
    others = [p for p in space.productions[node.kind] if p.kinds == kinds and p.op != node.op]
    if not others:
        return None
    chosen = rng.choice(others)
    return put(a, spot.path, apply(chosen.op, *node.args, exponent=chosen.exponent))


def insert(a: Expr, b: Expr, space: Space, rng: Random) -> Expr | None:
    """An op above a node, which becomes one of its operands; the others grow."""
    spot = place(a, rng)
    fitting = [p for p in space.productions[spot.node.kind] if spot.node.kind in p.kinds]
    if not fitting:
        return None
    chosen = rng.choice(fitting)
    keep = rng.choice([i for i, kind in enumerate(chosen.kinds) if kind is spot.node.kind])
    args = [spot.node if i == keep else space.grow(kind, 1, rng) for i, kind in enumerate(chosen.kinds)]
    return put(a, spot.path, apply(chosen.op, *args, exponent=chosen.exponent))


def delete(a: Expr, b: Expr, space: Space, rng: Random) -> Expr | None:
    """A node gives way to one of its operands of the same kind."""
    spot = place_of(a, rng, lambda node: any(arg.kind is node.kind for arg in node.args))
    return put(a, spot.path, rng.choice([arg for arg in spot.node.args if arg.kind is spot.node.kind])) if spot else None


def hoist(a: Expr, b: Expr, space: Space, rng: Random) -> Expr | None:
    """A part of the program is the program; a tensor stands for its mean."""
    spot = place_of(a, rng, lambda node: bool(node.args) and node is not a)
    return spot.node if spot else None


def constant(a: Expr, b: Expr, space: Space, rng: Random) -> Expr | None:
    """A literal, or an exponent, moved."""
    spot = place_of(a, rng, lambda node: node.op in (LITERAL, "pow"))
    if spot is None:
        return None
    if spot.node.op == "pow":
        return put(a, spot.path, apply("pow", *spot.node.args, exponent=rng.choice(EXPONENTS)))
    return put(a, spot.path, literal(float(f"{float(spot.node.value or 0) * 2 ** rng.gauss(0, 1):.3g}")))


Operator = Callable[[Expr, Expr, Space, Random], Expr | None]
OPERATORS: Mapping[str, tuple[Operator, float]] = MappingProxyType({
    "crossover": (crossover, 3.0),
    "regrow": (regrow, 2.0),
    "point": (point, 2.0),
    "insert": (insert, 1.5),
    "delete": (delete, 1.5),
    "hoist": (hoist, 0.5),
    "constant": (constant, 0.5),
})  # fmt: skip
_NAMES, _WEIGHTS = tuple(OPERATORS), tuple(weight for _, weight in OPERATORS.values())


def vary(a: Expr, b: Expr, space: Space, rng: Random) -> tuple[str, Expr]:
    """A child and the operator that made it; `regrow` where the drawn one finds no place. May have too many nodes."""
    name = rng.choices(_NAMES, _WEIGHTS)[0]
    child = OPERATORS[name][0](a, b, space, rng)
    if child is None:
        name, child = "regrow", regrow(a, b, space, rng)
    assert child is not None
    return name, child
