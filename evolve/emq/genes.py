"""The paper's structures: genes, the programs that they stand for, and how they vary.

sequential  one input and a chain of four unary operations
branched    two inputs, two unary operations on each, and one binary operation where they meet
dag         two inputs and three nodes, each the sum of one unary operation of every node before it;
            the program is the mean of the three

Sources: the paper, section 3.1, and the structures of LPZero, the authors' port of the search.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial, reduce
from itertools import pairwise, product
from random import Random
from typing import Final

from emqlang.evolve.settings import AGGREGATIONS
from emqlang.grammar.diagnostics import Passage, Source
from emqlang.grammar.expr import Expr, apply, literal, statistic
from emqlang.grammar.inputs import Kind
from emqlang.grammar.paper import NAMES
from emqlang.grammar.text.reader import Reader
from emqlang.grammar.text.syntax import Node, read_expression

UNARY = tuple(name for name, op in NAMES.items() if op.arity == 1)
BINARY = tuple(name for name, op in NAMES.items() if op.arity == 2)
CHAIN, NODES = 4, 3
EDGES = sum(2 + node for node in range(NODES))
# Operation sampling prioritisation: what lets a program live is drawn more often. Source: LPZero.
OSP: Final[Mapping[str, float]] = {
    **dict.fromkeys(UNARY, 1.0),
    "no_op": 2.0,
    **dict(zip(BINARY, (12.0, 6.0, 1.0, 1.0), strict=True)),
}


@dataclass(frozen=True)
class Genes:
    """One individual of the paper's search.

    inputs     one, or two
    unary      in the order of the structure
    binary     of a branched one, else empty
    aggregate  how a tensor becomes a number at the end
    """

    structure: str
    inputs: tuple[str, ...]
    unary: tuple[str, ...]
    binary: str
    aggregate: str

    def as_text(self) -> str:
        return json.dumps([self.structure, self.inputs, self.unary, self.binary, self.aggregate])

    @classmethod
    def from_text(cls, text: str) -> Genes:
        structure, inputs, unary, binary, aggregate = json.loads(text)
        return cls(structure, tuple(inputs), tuple(unary), binary, aggregate)


# Numbers of inputs and of unary operations.
_SHAPES = {"sequential": (1, CHAIN), "branched": (2, 4), "dag": (2, EDGES)}


@dataclass(frozen=True)
class Sampler:
    """Draws genes, by OSP or uniformly. An aggregation of '' is a gene of its own."""

    structure: str
    inputs: tuple[str, ...]
    aggregation: str = "mean"
    prioritised: bool = True

    def draw(self, random: Random) -> Genes:
        inputs, unary = _SHAPES[self.structure]
        return Genes(
            self.structure,
            tuple(random.choice(self.inputs) for _ in range(inputs)),
            tuple(self.unary(random) for _ in range(unary)),
            self._pick(BINARY, random) if self.structure == "branched" else "",
            self.aggregation or random.choice(AGGREGATIONS),
        )

    def unary(self, random: Random) -> str:
        return self._pick(UNARY, random)

    def _pick(self, names: Sequence[str], random: Random) -> str:
        weights = [OSP[name] for name in names] if self.prioritised else [1.0] * len(names)
        return random.choices(names, weights)[0]

    def cross(self, random: Random, mother: Genes, father: Genes) -> Genes:
        """Each gene from either parent; a sequential child takes one operation from the father."""
        if self.structure == "sequential":
            place = random.randrange(CHAIN)
            unary = (*mother.unary[:place], father.unary[place], *mother.unary[place + 1 :])
            return replace(mother, inputs=father.inputs, unary=unary)

        def either(own: str, other: str) -> str:
            return own if random.random() < 0.5 else other

        return Genes(
            self.structure,
            tuple(map(either, mother.inputs, father.inputs)),
            tuple(map(either, mother.unary, father.unary)),
            either(mother.binary, father.binary),
            either(mother.aggregate, father.aggregate),
        )

    def mutate(self, random: Random, genes: Genes) -> Genes:
        """Each gene drawn anew half of the time; of a sequential one, input and one operation."""
        if self.structure == "sequential":
            place = random.randrange(CHAIN)
            unary = (*genes.unary[:place], self.unary(random), *genes.unary[place + 1 :])
            return replace(genes, inputs=(random.choice(self.inputs),), unary=unary)
        fresh = self.draw(random)
        return self.cross(random, genes, fresh)


class Clash(Exception):
    """Operands of kinds that an operation does not take."""


@lru_cache
def _tree(name: str) -> tuple[Passage, Node]:
    """How one of the paper's operations is written in the language, over x and y."""
    passage = Passage(Source("<paper>", NAMES[name].text), NAMES[name].text)
    return passage, read_expression(passage)


def operate(name: str, *operands: Expr) -> Expr:
    """One of the paper's operations, in the language. Raises Clash where kinds do not fit."""
    passage, tree = _tree(name)
    program = Reader(passage, dict(zip("xy", operands, strict=False))).read(tree)
    if program is None:
        raise Clash(name)
    return program


def program_of(genes: Genes, reduce_first: bool = True) -> Expr:
    """The program that genes stand for, a layer value. Raises Clash.

    reduce_first  whether branches are aggregated before they meet, as in the authors' code, or
                  after, as in the paper's figure
    """
    inputs, unary = [statistic(name) for name in genes.inputs], genes.unary
    if genes.structure == "sequential":
        return _aggregated(genes, reduce(lambda x, name: operate(name, x), unary, inputs[0]))
    if genes.structure == "dag":
        return _dag(genes, inputs)
    left = operate(unary[1], operate(unary[0], inputs[0]))
    right = operate(unary[3], operate(unary[2], inputs[1]))
    if reduce_first:
        return operate(genes.binary, _aggregated(genes, left), _aggregated(genes, right))
    return _aggregated(genes, operate(genes.binary, left, right))


def _dag(genes: Genes, inputs: Sequence[Expr]) -> Expr:
    edges, nodes, add = iter(genes.unary), list(inputs), partial(operate, "element_wise_sum")
    for _ in range(NODES):
        nodes.append(reduce(add, [operate(next(edges), node) for node in nodes]))
    ends = [_aggregated(genes, node) for node in nodes[len(inputs) :]]
    return apply("mul", reduce(lambda x, y: apply("add", x, y), ends), literal(1 / NODES))


def _aggregated(genes: Genes, x: Expr) -> Expr:
    return x if x.kind is Kind.LAYER else apply(genes.aggregate, x)


# Operations that undo each other, or leave nothing behind, one after the other.
_IDEMPOTENT = ("abs", "relu", "normalize", "min_max_normalize", "sign")
_REDUCERS = (
    *("frobenius_norm", "normalized_sum", "l1_norm", "slogdet"),
    *("to_mean_scalar", "to_std_scalar", "to_sum_scalar"),
)
# Constant on a single number.
_SPREADERS = ("normalize", "min_max_normalize", "to_std_scalar", "softmax", "logsoftmax")
CONFLICTS = frozenset(
    {("invert", "invert"), ("revert", "revert"), ("log", "exp"), ("exp", "log"), ("pow", "sqrt")}
    | {(name, name) for name in _IDEMPOTENT}
    | {("relu", "abs"), ("abs", "relu"), ("exp", "abs"), ("exp", "relu"), ("pow", "abs")}
    | {("sigmoid", "abs")}
    | set(product(_REDUCERS, _SPREADERS))
    | set(product(("softmax", "normalize"), ("to_mean_scalar", "normalized_sum")))
)


def conflicts(genes: Genes) -> bool:
    """Whether two operations in a row undo each other, `no_op` left out: conflict awareness."""
    chains = {"sequential": [genes.unary], "branched": [genes.unary[:2], genes.unary[2:]]}
    effective = [
        [name for name in chain if name != "no_op"] for chain in chains.get(genes.structure, [])
    ]
    return any(pair in CONFLICTS for chain in effective for pair in pairwise(chain))
