"""The typed grammar: every program is well-kinded and within limits; every production closes."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emqlang.evolve.typed.space import LEAF, STRUCTURED, Space, default_inputs, default_ops
from emqlang.evolve.typed.variation import OPERATORS, depth, parts, replaced, vary
from emqlang.grammar.diagnostics import EmqError
from emqlang.grammar.expr import Expr, inputs, rebuild
from emqlang.grammar.inputs import INPUTS, Axis, Cost, Kind
from emqlang.grammar.ops import OPS
from emqlang.grammar.program import parse
from emqlang.grammar.text.printer import show

seeds = st.integers(0, 10**9)
WHOLE = Space.of()
SPACES = {
    "whole": WHOLE,
    "weights": Space.of(["w", "grad", "qerr"]),
    "no choice": Space.of(choice_dependent=False),
    "layers": Space.of(["numel", "depth", "bits"]),
    "one way down": Space.of(["w"], ["mean", "abs"]),
    "structured": Space.of(["w", "grad"], ["matmul", "softmax", "sum", "slogdet", "gram"]),
    "shallow": Space.of(["w", "act", "numel"], max_depth=3, max_nodes=6),
}


def operators_of(program: Expr) -> set[str]:
    return {node.op for _, node in parts(program) if node.args}


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES.keys())
@given(seed=seeds)
def test_programs_are_of_their_space(space: Space, seed: int) -> None:
    program = space.program(Random(seed))
    assert (
        program.kind is Kind.LAYER
        and program.size <= space.max_nodes
        and depth(program) <= space.max_depth
    )
    assert set(inputs(program)) <= set(space.inputs) and operators_of(program) <= set(space.ops)
    assert parse(show(program)).expr == program, "what it is written as is what it is"


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES.keys())
@given(seed=seeds)
def test_offspring_are_of_their_space(space: Space, seed: int) -> None:
    random = Random(seed)
    family = [space.program(random) for _ in range(3)]
    for _ in range(6):
        name, parents, child = vary(space, random, lambda: random.choice(family), tuple(OPERATORS))
        assert (
            child.kind is Kind.LAYER
            and child.size <= space.max_nodes
            and depth(child) <= space.max_depth
        )
        assert set(inputs(child)) <= set(space.inputs) and operators_of(child) <= set(space.ops) | {
            "pow"
        }
        assert len(parents) == OPERATORS[name][1] and all(parent in family for parent in parents)
        assert parse(show(child)).expr == child
        family.append(child)


@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_makes_something_new(name: str) -> None:
    random, made = Random(0), 0
    for _ in range(200):
        parent = WHOLE.program(random)
        found = OPERATORS[name][2](
            WHOLE, random, parent, *([WHOLE.program(random)] if name == "crossover" else [])
        )
        made += found is not None and found != parent
    assert made > 50


@given(seeds)
def test_replacing_a_part_by_itself_changes_nothing(seed: int) -> None:
    program = WHOLE.program(Random(seed))
    found = parts(program)
    assert len(found) == program.size and found[0] == ((), program)
    for path, part in found:
        assert replaced(program, path, part) == program


def test_a_part_is_replaced_where_it_is() -> None:
    program = parse("sum(abs(w)) * numel + sum(abs(w))").expr
    path = next(path for path, node in parts(program) if node == parse("abs(w)").expr.args[0])
    changed = replaced(program, path, parse("grad").expr)
    assert show(changed) in (
        "sum(abs(grad)) * numel + sum(abs(w))",
        "sum(abs(w)) * numel + sum(abs(grad))",
    )


@pytest.mark.parametrize("kind", [Kind.LAYER, Kind.WEIGHT, Kind.ACTIVATION])
def test_productions_close_within_their_depth(kind: Kind) -> None:
    for row in WHOLE.productions[kind]:
        assert row.closes == 1 + max(WHOLE.closes(operand) for operand in row.operands)
        for seed in range(20):
            operands = [WHOLE.grow(k, row.closes - 1, Random(seed)) for k in row.operands]
            built = WHOLE.build(row.op, operands, Random(seed))
            assert built.kind is kind and depth(built) <= row.closes


def test_the_least_depth_is_found() -> None:
    assert Space.of(["w"], ["mean", "abs"]).closes(Kind.LAYER) == 2
    assert Space.of(["w"], ["matmul", "slogdet"]).closes(Kind.LAYER) == 3
    assert (
        WHOLE.closes(Kind.LAYER) == WHOLE.closes(Kind.WEIGHT) == 1
        and WHOLE.closes(Kind.MATRIX) > WHOLE.max_depth
    )


def test_ops_are_drawn_by_their_weights() -> None:
    random = Random(0)
    drawn: Counter[str] = Counter()
    for _ in range(3000):
        drawn.update(node.op for _, node in parts(WHOLE.program(random)) if node.args)
    assert drawn["mul"] > 2 * drawn["sub"] > 0 and set(drawn) == set(default_ops()) and 0 < LEAF < 1


def test_what_the_default_space_has() -> None:
    assert not {name for name in default_inputs(True) if INPUTS[name].cost is Cost.FORWARDS}
    assert not [name for name in default_inputs(False) if INPUTS[name].axis is not Axis.NONE]
    assert set(OPS) - set(default_ops()) == {*STRUCTURED, "total"}
    assert not {"shift", "act_shift"} & {*default_inputs(True), *default_inputs(False)}
    with pytest.raises(EmqError, match="E410"):
        Space.of(["w", "bits"], ["mean", "mul", "total"])


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ((["wieght"], ()), "E102"),
        (((), ["absolute"]), "E102"),
        ((["w"], ["abs"]), "E408"),
        ((["w", "act"], ["add"]), "E408"),
    ],
)
def test_spaces_that_are_none(given: tuple[list[str], list[str]], code: str) -> None:
    with pytest.raises(EmqError) as refused:
        Space.of(*given)
    assert refused.value.diagnostics[0].code == code


def test_building_again_is_the_same() -> None:
    program = WHOLE.program(Random(5))
    assert rebuild(program, program.args) == program
