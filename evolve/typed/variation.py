"""Offspring: each operator makes a program of the same space, by exchanging parts of one kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import exp
from random import Random
from typing import Final

from emqlang.evolve.typed.space import Space
from emqlang.grammar.expr import Expr, apply, literal, rebuild
from emqlang.grammar.inputs import Kind
from emqlang.grammar.ops import LITERAL

Path = tuple[int, ...]  # which operand to take at each step down from the root
SPREAD = 0.3  # of the logarithm of a constant when it is mutated
DIGITS = 2  # that a mutated constant keeps


def parts(root: Expr) -> list[tuple[Path, Expr]]:
    """Every part with the way to it, the root first; a part that occurs twice appears twice."""
    occurrences: list[tuple[Path, Expr]] = []
    stack: list[tuple[Path, Expr]] = [((), root)]
    while stack:
        path, node = stack.pop()
        occurrences.append((path, node))
        stack += [((*path, i), arg) for i, arg in enumerate(node.args)]
    return occurrences


def replaced(root: Expr, path: Path, part: Expr) -> Expr:
    """The program with another part, of the same kind, at the end of a path."""
    spine = [root]
    for step in path[:-1]:
        spine.append(spine[-1].args[step])
    for node, step in zip(reversed(spine), reversed(path), strict=True) if path else ():
        part = rebuild(node, (*node.args[:step], part, *node.args[step + 1 :]))
    return part


def depth(root: Expr) -> int:
    return 1 + max(map(depth, root.args), default=0)


def crossover(space: Space, random: Random, mother: Expr, father: Expr) -> Expr | None:
    """The mother with one part replaced by one of the father's of the same kind."""
    path, node = random.choice(parts(mother))
    donors = [part for _, part in parts(father) if part.kind is node.kind]
    return replaced(mother, path, random.choice(donors)) if donors else None


def regrow(space: Space, random: Random, parent: Expr) -> Expr | None:
    """One part grown anew."""
    path, node = random.choice(parts(parent))
    least = space.closes(node.kind)
    part = space.grow(node.kind, random.randint(least, max(least, 3)), random)
    return replaced(parent, path, part)


def point(space: Space, random: Random, parent: Expr) -> Expr | None:
    """One op, exponent or statistic replaced by another that takes the same operands."""
    path, node = random.choice(parts(parent))
    if not node.args:
        return replaced(parent, path, space.leaf(node.kind, random))
    kinds = tuple(arg.kind for arg in node.args)
    rows = [row for row in space.productions[node.kind] if row.operands == kinds]
    if not rows:
        return None
    (row,) = random.choices(rows, [row.weight for row in rows])
    return replaced(parent, path, space.build(row.op, node.args, random))


def insert(space: Space, random: Random, parent: Expr) -> Expr | None:
    """An op put above one part; where it takes two operands, the other is a leaf."""
    path, node = random.choice(parts(parent))
    rows = [
        row
        for row in space.productions[node.kind]
        if node.kind in row.operands
        and all(kind is node.kind or space.has_leaf(kind) for kind in row.operands)
    ]
    if not rows:
        return None
    (row,) = random.choices(rows, [row.weight for row in rows])
    place = random.choice([i for i, kind in enumerate(row.operands) if kind is node.kind])
    if any(i != place and not space.has_leaf(kind) for i, kind in enumerate(row.operands)):
        return None
    operands = [
        node if i == place else space.leaf(kind, random) for i, kind in enumerate(row.operands)
    ]
    return replaced(parent, path, space.build(row.op, operands, random))


def delete(space: Space, random: Random, parent: Expr) -> Expr | None:
    """One op replaced by one of its operands of the same kind."""
    ways = [
        (path, arg) for path, node in parts(parent) for arg in node.args if arg.kind is node.kind
    ]
    if not ways:
        return None
    path, arg = random.choice(ways)
    return replaced(parent, path, arg)


def hoist(space: Space, random: Random, parent: Expr) -> Expr | None:
    """A part of the parent that is a program itself."""
    inner = [node for path, node in parts(parent) if path and node.kind is Kind.LAYER and node.args]
    return random.choice(inner) if inner else None


def constant(space: Space, random: Random, parent: Expr) -> Expr | None:
    """One literal or exponent moved a little, or given another sign; rounded to stay readable."""
    ways = [(path, node) for path, node in parts(parent) if node.op in (LITERAL, "pow")]
    if not ways:
        return None
    path, node = random.choice(ways)
    scale, sign = exp(random.gauss(0, SPREAD)), random.choice((1, 1, 1, 1, -1))
    value = float(f"{node.number * scale * sign:.{DIGITS}g}")
    part = literal(value) if node.op == LITERAL else apply("pow", *node.args, exponent=value)
    return replaced(parent, path, part)


Operator = Callable[..., Expr | None]
# How often each is drawn, relative to 1, and how many parents it takes.
OPERATORS: Final[Mapping[str, tuple[float, int, Operator]]] = {
    "crossover": (3.0, 2, crossover),
    "regrow": (2.0, 1, regrow),
    "point": (2.0, 1, point),
    "insert": (1.5, 1, insert),
    "delete": (1.0, 1, delete),
    "hoist": (0.5, 1, hoist),
    "constant": (1.5, 1, constant),
}


def vary(
    space: Space, random: Random, choose: Callable[[], Expr], operators: Sequence[str]
) -> tuple[str, tuple[Expr, ...], Expr]:
    """One offspring within the space's limits: the operator, its parents, and the program."""
    weights = [OPERATORS[name][0] for name in operators]
    while True:
        (name,) = random.choices(operators, weights)
        _, count, operate = OPERATORS[name]
        parents = tuple(choose() for _ in range(count))
        child = operate(space, random, *parents)
        if child is None or not child.args or child.size > space.max_nodes:
            continue
        if depth(child) <= space.max_depth:
            return name, parents, child
