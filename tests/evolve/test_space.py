"""The typed grammar: every program is well-kinded, on its levels and within limits; every
production closes."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from arenas import arena
from hypothesis import given
from hypothesis import strategies as st

from emqlang.evolve.typed.space import (
    LEAF,
    NONTERMINALS,
    STARTS,
    STRUCTURED,
    Nonterminal,
    Space,
    default_inputs,
    default_ops,
)
from emqlang.evolve.typed.variation import OPERATORS, depth, parts, replaced, vary
from emqlang.grammar.canonical.form import whole
from emqlang.grammar.diagnostics import EmqError
from emqlang.grammar.expr import Expr, elaborate, inputs, rebuild
from emqlang.grammar.inputs import INPUTS, Axis, Cost, Kind
from emqlang.grammar.levels import CONFIGURATION, LAYER
from emqlang.grammar.ops import OPS
from emqlang.grammar.program import parse
from emqlang.grammar.text.printer import show

seeds = st.integers(0, 10**9)
WHOLE = Space.of()
ARENA = arena()
SPACES = {
    "whole": WHOLE,
    "additive": Space.of(additive=True),
    "images": Space.of(["shift", "act_shift"], ["total", "square", "mean", "add", "exp", "pow"]),
    "numbers": Space.of(["bits", "macs"], ["total", "mul", "log"]),
    "weights": Space.of(["w", "grad", "qerr"]),
    "no choice": Space.of(choice_dependent=False),
    "layers": Space.of(["numel", "depth", "bits"]),
    "one way down": Space.of(["w"], ["mean", "abs"]),
    "structured": Space.of(["w", "grad"], ["matmul", "softmax", "sum", "slogdet", "gram"]),
    "shallow": Space.of(["w", "act", "numel"], max_depth=3, max_nodes=6),
}


def operators_of(program: Expr) -> set[str]:
    return {node.op for _, node, _ in parts(program) if node.args}


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES.keys())
@given(seed=seeds)
def test_programs_are_of_their_space(space: Space, seed: int) -> None:
    program = space.program(Random(seed))
    assert (
        any(start.takes(program) for start in space.starts)
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
            any(start.takes(child) for start in space.starts)
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
    assert len(found) == program.size and found[0][:2] == ((), program)
    for path, part, place in found:
        assert replaced(program, path, part) == program and place.takes(part)


@given(seeds)
def test_programs_of_the_whole_space_are_evaluated(seed: int) -> None:
    """Grown ones and their offspring, whether they separate or not."""
    random = Random(seed)
    family = [WHOLE.program(random) for _ in range(2)]
    family += [vary(WHOLE, random, lambda: random.choice(family), tuple(OPERATORS))[2]]
    forms = [whole(elaborate(program)) for program in family]
    (rows,) = ARENA.score(forms)
    assert rows.shape == (3, 81)


def test_many_programs_are_of_the_configuration() -> None:
    random = Random(0)
    drawn = [whole(elaborate(WHOLE.program(random))) for _ in range(400)]
    assert sum(form.level == CONFIGURATION for form in drawn) > 60
    additive = SPACES["additive"]
    levels = {elaborate(additive.program(random)).level for _ in range(200)}
    assert CONFIGURATION not in levels and additive.starts == STARTS[:1]


def test_a_part_is_replaced_where_it_is() -> None:
    program = parse("sum(abs(w)) * numel + sum(abs(w))").expr
    path = next(path for path, node, _ in parts(program) if node == parse("abs(w)").expr.args[0])
    changed = replaced(program, path, parse("grad").expr)
    assert show(changed) in (
        "sum(abs(grad)) * numel + sum(abs(w))",
        "sum(abs(w)) * numel + sum(abs(grad))",
    )


CLOSING = [place for place in NONTERMINALS if WHOLE.closes(place) <= WHOLE.max_depth]


@pytest.mark.parametrize("place", CLOSING, ids=lambda place: f"{place.kind} {place.level}")
def test_productions_close_within_their_depth(place: Nonterminal) -> None:
    for row in WHOLE.productions[place]:
        assert row.closes == 1 + max(WHOLE.closes(operand) for operand in row.operands)
        for seed in range(20):
            operands = [WHOLE.grow(each, row.closes - 1, Random(seed)) for each in row.operands]
            built = WHOLE.build(row.op, operands, Random(seed))
            assert place.takes(built) and depth(built) <= row.closes


def test_the_least_depth_is_found() -> None:
    layer, joint = STARTS
    assert Space.of(["w"], ["mean", "abs"]).closes(layer) == 2
    assert Space.of(["w"], ["matmul", "slogdet"]).closes(layer) == 3
    assert WHOLE.closes(layer) == WHOLE.closes(Nonterminal(Kind.WEIGHT, LAYER)) == 1
    assert WHOLE.closes(joint) == WHOLE.closes(Nonterminal(Kind.IMAGE, CONFIGURATION)) == 2
    never = (Nonterminal(Kind.MATRIX, LAYER), Nonterminal(Kind.WEIGHT, CONFIGURATION))
    assert all(WHOLE.closes(place) > WHOLE.max_depth for place in never)


def test_ops_are_drawn_by_their_weights() -> None:
    random = Random(0)
    drawn: Counter[str] = Counter()
    for _ in range(3000):
        drawn.update(node.op for _, node, _ in parts(WHOLE.program(random)) if node.args)
    assert drawn["mul"] > 2 * drawn["sub"] > 0 and set(drawn) == set(default_ops()) and 0 < LEAF < 1


def test_what_the_default_space_has() -> None:
    assert not {name for name in default_inputs() if INPUTS[name].cost is Cost.FORWARDS}
    assert not [name for name in default_inputs(False) if INPUTS[name].axis is not Axis.NONE]
    assert set(OPS) - set(default_ops()) == {*STRUCTURED}
    assert {"shift", "act_shift"} == {*default_inputs()} - {*default_inputs(additive=True)}
    assert Space.of(choice_dependent=False).ops == default_ops(additive=True)


def test_a_total_and_the_op_next_to_it_trade_places() -> None:
    texts = {
        "mean(square(total(shift)))",
        "total(mean(square(shift)))",
        "mean(total(square(shift)))",
    }
    found, fresh = set[str](), {"mean(square(total(shift)))"}
    while fresh - found:
        text = (fresh - found).pop()
        found.add(text)
        for seed in range(20):
            child = OPERATORS["total"][2](WHOLE, Random(seed), parse(text).expr)
            assert child is not None
            fresh.add(show(child))
    assert found == texts
    moved = OPERATORS["total"][2](WHOLE, Random(0), parse("total(bits ** 2.5 / 3)").expr)
    assert show(moved) == "total(bits ** 2.5) / 3"
    assert OPERATORS["total"][2](WHOLE, Random(0), parse("total(mean(w))").expr) is None


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ((["wieght"], ()), "E102"),
        (((), ["absolute"]), "E102"),
        ((["w"], ["abs"]), "E408"),
        ((["w", "act"], ["add"]), "E408"),
        ((["shift"], ["total"]), "E408"),
    ],
)
def test_spaces_that_are_none(given: tuple[list[str], list[str]], code: str) -> None:
    with pytest.raises(EmqError) as refused:
        Space.of(*given)
    assert refused.value.diagnostics[0].code == code


def test_an_additive_space_has_no_total() -> None:
    with pytest.raises(EmqError, match="E403"):
        Space.of(["bits"], ["mul", "total"], additive=True)


def test_building_again_is_the_same() -> None:
    program = WHOLE.program(Random(5))
    assert rebuild(program, program.args) == program
