"""Two lists of programs for `population.py`: random ones, and a search's offspring.

    python benchmarks/generate_programs.py

Both are functions of their seeds. Programs are well-kinded, have 3 to 15 nodes and distinct
canonical keys, read at least one tensor and use no structured op, as in a search's default space.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
from scipy.stats import spearmanr
from synthetic import synthetic

from emqlang.compiler.cache import Cache
from emqlang.compiler.plan import compile
from emqlang.compiler.run import run
from emqlang.grammar.canonical.form import canonical, key
from emqlang.grammar.expr import Expr, apply, elaborate, literal, postorder, rebuild, statistic
from emqlang.grammar.inputs import Kind
from emqlang.grammar.ops import OPS, Class
from emqlang.grammar.text.printer import show

HERE = Path(__file__).parent
NUMBER, LEAST, MOST = 1000, 3, 15
TENSORS = {
    Kind.WEIGHT: ("w", "grad", "grad_synflow", "hess", "fisher", "qerr"),
    Kind.ACTIVATION: ("act", "grad_act"),
}
LAYER = ("numel", "fan_in", "channels_in", "channels_out", "depth", "bits")
READ = (*TENSORS[Kind.WEIGHT], *TENSORS[Kind.ACTIVATION], *LAYER)
NUMBERS, EXPONENTS = (0.5, 2.0, 3.0), (0.5, 2.0, 3.0, -1.0)
UNARY = tuple(op.name for op in OPS.values() if op.arity == 1 and op.cls is Class.ELEMENTWISE)
TENSOR_UNARY = (*UNARY, "square", "normalize", "min_max")
BINARY = ("add", "sub", "mul", "div")
REDUCTIONS = tuple(op.name for op in OPS.values() if op.cls is Class.REDUCTION)


class Space:
    """Random expressions of a kind and a size."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def draw(self, kind: Kind, size: int) -> Expr:
        if size == 1:
            return self._leaf(kind)
        if kind is Kind.LAYER and (size == 2 or self.random.random() < 0.5):
            return apply(self.random.choice(REDUCTIONS), self.draw(self._tensor(), size - 1))
        if size == 2 or self.random.random() < 0.5:
            op = self.random.choice(UNARY if kind is Kind.LAYER else TENSOR_UNARY)
            exponent = self.random.choice(EXPONENTS) if op == "pow" else None
            return apply(op, self.draw(kind, size - 1), exponent=exponent)
        left = self.random.randint(1, size - 2)
        kinds = [kind, kind if self.random.random() < 0.7 else Kind.LAYER]
        self.random.shuffle(kinds)
        return apply(
            self.random.choice(BINARY),
            self.draw(kinds[0], left),
            self.draw(kinds[1], size - 1 - left),
        )

    def program(self) -> Expr:
        kind = Kind.LAYER if self.random.random() < 0.5 else self._tensor()
        return self.draw(kind, self.random.randint(LEAST, MOST))

    def mutant(self, parent: Expr) -> Expr:
        """The parent with one part replaced by a random one of about its size."""
        place = self.random.choice(list(postorder(parent)))
        size = max(1, place.size + self.random.choice((-1, 0, 0, 1)))
        return _replaced(parent, place, self.draw(place.kind, size))

    def child(self, mother: Expr, father: Expr) -> Expr:
        """The mother with one part replaced by a part of the father's of its kind, if any."""
        place = self.random.choice(list(postorder(mother)))
        gifts = [node for node in postorder(father) if node.kind is place.kind]
        return _replaced(mother, place, self.random.choice(gifts)) if gifts else mother

    def _tensor(self) -> Kind:
        return Kind.WEIGHT if self.random.random() < 0.8 else Kind.ACTIVATION

    def _leaf(self, kind: Kind) -> Expr:
        if kind is not Kind.LAYER:
            return statistic(self.random.choice(TENSORS[kind]))
        return (
            literal(self.random.choice(NUMBERS))
            if self.random.random() < 0.3
            else statistic(self.random.choice(LAYER))
        )


def _replaced(root: Expr, place: Expr, part: Expr) -> Expr:
    done: dict[Expr, Expr] = {}
    for node in postorder(root):
        done[node] = part if node == place else rebuild(node, tuple(done[arg] for arg in node.args))
    return done[root]


def _fits(program: Expr) -> bool:
    reads = any(not node.args and node.kind is not Kind.LAYER for node in postorder(program))
    return LEAST <= program.size <= MOST and reads


def population(number: int, seed: int) -> list[Expr]:
    """Random programs with distinct keys."""
    space = Space(Random(seed))
    found: dict[bytes, Expr] = {}
    while len(found) < number:
        program = space.program()
        if _fits(program):
            found.setdefault(key(program), program)
    return list(found.values())


def search(seed: int) -> Iterator[Expr]:
    """Every program that a run of regularised evolution evaluates: 50 random ones, then offspring.

    Fitness is the rank correlation with a hidden ranking of layers and bits; a program seen before
    is not evaluated again.
    """
    space = Space(Random(seed))
    statistics = synthetic(READ, samples=256, shapes={f"layer{i}": (8, 4 + i) for i in range(12)})
    cache = Cache()
    hidden = np.random.default_rng(seed).standard_normal(36)

    def fitness(program: Expr) -> float:
        values = run(compile([canonical(elaborate(program))]), statistics, cache, threads=1).ravel()
        usable = np.isfinite(values).all() and np.ptp(values) > 0
        return float(spearmanr(values, hidden).statistic) if usable else -1.0

    alive: deque[tuple[float, Expr]] = deque()
    seen: set[bytes] = set()
    for program in population(50, seed):
        yield program
        seen.add(key(program))
        alive.append((fitness(program), program))
    while True:
        mother, father = (
            max(space.random.sample(list(alive), 5), key=lambda pair: pair[0])[1] for _ in range(2)
        )
        program = (
            space.mutant(mother) if space.random.random() < 0.7 else space.child(mother, father)
        )
        if not _fits(program) or key(program) in seen:
            continue
        yield program
        seen.add(key(program))
        alive.append((fitness(program), program))
        alive.popleft()


def main() -> None:
    head = "# Written by benchmarks/generate_programs.py; do not edit.\n"
    lines = [f"p{i:04} = {show(program)}\n" for i, program in enumerate(population(NUMBER, seed=5))]
    (HERE / "programs.emq").write_text(head + "".join(lines))
    run = search(seed=5)
    lines = [
        f"{'parent' if i < 550 else 'child'}{i:04} = {show(next(run))}\n"
        for i in range(550 + NUMBER)
    ]
    (HERE / "offspring.emq").write_text(head + "".join(lines))


if __name__ == "__main__":
    main()
