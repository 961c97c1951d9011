"""Offspring: each operator makes a program of the same space, by exchanging parts that fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import exp
from random import Random
from typing import Final, NamedTuple

from emqlang.evolve.typed.space import STARTS, Nonterminal, Space, level_below
from emqlang.grammar.expr import Expr, apply, literal, rebuild
from emqlang.grammar.kinds import KINDS
from emqlang.grammar.levels import CONSTANT, LAYER
from emqlang.grammar.ops import LITERAL

Path = tuple[int, ...]  # which operand to take at each step down from the root
SPREAD = 0.3  # of the logarithm of a constant when it is mutated
DIGITS = 2  # that a mutated constant keeps


class Part(NamedTuple):
    """A part of a program: the way to it from the root, and what may stand in its place."""

    path: Path
    node: Expr
    place: Nonterminal


def parts(root: Expr) -> list[Part]:
    """Every part, the root first; a part that occurs twice appears twice."""
    occurrences: list[Part] = []
    stack: list[tuple[Path, Expr, int]] = [((), root, root.level or LAYER)]
    while stack:
        path, node, level = stack.pop()
        occurrences.append(Part(path, node, Nonterminal(node.kind, level)))
        below = level_below(node.op, level)
        stack += [((*path, i), arg, below) for i, arg in enumerate(node.args)]
    return occurrences


def replaced(root: Expr, path: Path, part: Expr) -> Expr:
    """The program with another part, of the same nonterminal, at the end of a path."""
    spine = [root]
    for step in path[:-1]:
        spine.append(spine[-1].args[step])
    for node, step in zip(reversed(spine), reversed(path), strict=True) if path else ():
        part = rebuild(node, (*node.args[:step], part, *node.args[step + 1 :]))
    return part


def depth(root: Expr) -> int:
    return 1 + max(map(depth, root.args), default=0)


def crossover(space: Space, random: Random, mother: Expr, father: Expr) -> Expr | None:
    """The mother with one part replaced by one of the father's that fits."""
    path, _, place = random.choice(parts(mother))
    donors = [part.node for part in parts(father) if place.takes(part.node)]
    return replaced(mother, path, random.choice(donors)) if donors else None


def regrow(space: Space, random: Random, parent: Expr) -> Expr | None:
    """One part grown anew."""
    path, _, place = random.choice(parts(parent))
    least = space.closes(place)
    part = space.grow(place, random.randint(least, max(least, 3)), random)
    return replaced(parent, path, part)


def point(space: Space, random: Random, parent: Expr) -> Expr | None:
    """One op, exponent or statistic replaced by another that takes the same operands."""
    path, node, place = random.choice(parts(parent))
    if not node.args:
        return replaced(parent, path, space.leaf(place, random))
    rows = [row for row in space.productions[place] if _fits(row.operands, node.args)]
    if not rows:
        return None
    (row,) = random.choices(rows, [row.weight for row in rows])
    return replaced(parent, path, space.build(row.op, node.args, random))


def _fits(operands: Sequence[Nonterminal], args: Sequence[Expr]) -> bool:
    alike = zip(operands, args, strict=False)
    return len(operands) == len(args) and all(place.takes(arg) for place, arg in alike)


def insert(space: Space, random: Random, parent: Expr) -> Expr | None:
    """An op put above one part; where it takes two operands, the other is a leaf."""
    path, node, place = random.choice(parts(parent))
    rows = [
        row
        for row in space.productions[place]
        if place in row.operands
        and all(operand == place or space.has_leaf(operand) for operand in row.operands)
    ]
    if not rows:
        return None
    (row,) = random.choices(rows, [row.weight for row in rows])
    at = random.choice([i for i, operand in enumerate(row.operands) if operand == place])
    if any(i != at and not space.has_leaf(operand) for i, operand in enumerate(row.operands)):
        return None
    operands = [
        node if i == at else space.leaf(operand, random) for i, operand in enumerate(row.operands)
    ]
    return replaced(parent, path, space.build(row.op, operands, random))


def delete(space: Space, random: Random, parent: Expr) -> Expr | None:
    """One op replaced by one of its operands that fits where it stood."""
    ways = [
        (path, arg) for path, node, place in parts(parent) for arg in node.args if place.takes(arg)
    ]
    if not ways:
        return None
    path, arg = random.choice(ways)
    return replaced(parent, path, arg)


def hoist(space: Space, random: Random, parent: Expr) -> Expr | None:
    """A part of the parent that is a program itself."""
    inner = [node for path, node, place in parts(parent) if path and place in STARTS and node.args]
    return random.choice(inner) if inner else None


def shift_total(space: Space, random: Random, parent: Expr) -> Expr | None:
    """A `total` and an op next to it trade places: total(f(x)) and f(total(x)).

    What belongs to no level stays as it is: total(x ** 2 / 3) and total(x ** 2) / 3.
    """
    ways: list[tuple[Path, Expr]] = []
    for path, node, _ in parts(parent):
        below = [arg for arg in node.args if arg.level != CONSTANT]
        if node.op == "total":
            (x,) = node.args
            if x.args and all((arg.kind,) in KINDS["total"] for arg in x.args):
                ways.append((path, _over(x, lambda arg: apply("total", arg))))
        elif below and all(arg.op == "total" for arg in below):
            ways.append((path, apply("total", _over(node, lambda arg: arg.args[0]))))
    return replaced(parent, *random.choice(ways)) if ways else None


def _over(node: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """The op on changed operands; those of no level are left."""
    return rebuild(node, [arg if arg.level == CONSTANT else change(arg) for arg in node.args])


def constant(space: Space, random: Random, parent: Expr) -> Expr | None:
    """One literal or exponent moved a little, or given another sign; rounded to stay readable."""
    ways = [part[:2] for part in parts(parent) if part.node.op in (LITERAL, "pow")]
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
    "total": (1.0, 1, shift_total),
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
