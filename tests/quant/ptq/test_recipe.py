"""Recipes: read as they were written; a damaged one says where; another network's is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET
from msgspec.structs import replace

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.ptq.recipe import (
    STATUSES,
    LayerRecipe,
    ModelIdentity,
    Procedure,
    Proxy,
    Recipe,
    Solver,
    check_fits,
    input_scheme,
    load_recipe,
    parse_recipe,
    uniform,
    weight_scheme,
)

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
AMOUNTS = st.floats(0, allow_infinity=False) | st.integers(0, 2**53)
BITS = st.integers(2, 8)
OBSERVERS = st.sampled_from(["mse", "minmax", "percentile"])
LAYERS = st.builds(
    LayerRecipe,
    st.none()
    | st.builds(lambda bits, even: weight_scheme(bits, symmetric=even), BITS, st.booleans()),
    st.none()
    | st.builds(lambda bits, observer: input_scheme(bits, observer=observer), BITS, OBSERVERS),
)
RECIPES = st.builds(
    Recipe,
    st.builds(ModelIdentity, NAMES, st.just("ab" * 32)),
    st.dictionaries(NAMES, LAYERS, min_size=1, max_size=4),
    st.none() | st.builds(Proxy, NAMES, NAMES),
    st.dictionaries(NAMES, NAMES, max_size=2),
    st.sampled_from(["full", "emq"]),
    st.dictionaries(NAMES, AMOUNTS, max_size=2),
    st.none() | st.builds(Solver, NAMES, st.sampled_from(STATUSES), st.none() | AMOUNTS.map(float)),
    procedure=st.none()
    | st.builds(
        Procedure, NAMES, st.integers(1, 2**31), st.integers(0, 2**31), st.booleans(), st.booleans()
    ),
    fixed=st.just(UNSET) | st.lists(NAMES, min_size=1, max_size=2).map(tuple),
    held=st.just(UNSET) | st.dictionaries(NAMES, NAMES, min_size=1, max_size=2),
    seed=st.integers(0, 2**62),
    versions=st.dictionaries(NAMES, NAMES, max_size=2),
)
MODEL = ModelIdentity("net", "0" * 64)


@given(RECIPES)
def test_what_is_written_is_what_is_read(recipe: Recipe) -> None:
    assert parse_recipe(recipe.as_json()) == recipe


def test_files_are_written_whole_and_folders_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "recipe.json"
    recipe = uniform(MODEL, ["conv1", "fc"], 4, 8)
    recipe.save(path)
    assert load_recipe(path) == recipe and list(path.parent.iterdir()) == [path]
    assert recipe.bits == {"conv1": 4, "fc": 4}


def test_a_layer_may_stay_in_float() -> None:
    recipe = replace(
        uniform(MODEL, ["a", "b"], 2, None),
        layers={"a": LayerRecipe(None, None), "b": LayerRecipe(weight_scheme(2), None)},
    )
    assert parse_recipe(recipe.as_json()).bits == {"b": 2}


def test_a_recipe_of_an_older_version_is_read() -> None:
    record = json.loads(replace(uniform(MODEL, ["a"], 4, 8), procedure=Procedure()).as_json())
    record["procedure"] |= {"step_iterations": 200}
    assert parse_recipe(json.dumps(record)).procedure == Procedure(step_iterations=200)


def damaged(**changes: Any) -> str:
    """A recipe as JSON, changed by `layers__a__weight__num_bits=9`; ... removes an entry."""
    record = json.loads(uniform(MODEL, ["a"], 4, 8).as_json())
    for path, value in changes.items():
        *outer, last = path.split("__")
        inner = record
        for key in outer:
            inner = inner[key]
        if value is ...:
            del inner[last]
        else:
            inner[last] = value
    return json.dumps(record)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "the recipe is not JSON"),
        ("[" * 100_000, "the recipe is not JSON"),
        ("[]", "this is not a recipe"),
        ("{}", "this is not a recipe"),
        (damaged(schema="other"), "this is not a recipe"),
        (damaged(schema_version=2), "the recipe's schema_version is 2, and this program reads 1"),
        (damaged(layers=...), "the recipe: object missing required field `layers`"),
        (damaged(model__weights_sha256=...), "the recipe, model: object missing required field"),
        (damaged(model__name=3), "the recipe, model.name: expected `str`, got `int`"),
        (damaged(extra=1), "the recipe: object contains unknown field `extra`"),
        (damaged(layers__a__weigth=None), "layer 'a': object contains unknown field `weigth`"),
        (
            damaged(layers__a__weight__num_bits=9),
            "layer 'a', weight: num_bits is 9; it may be 2, 3",
        ),
        (damaged(layers__a__weight__num_bits=1), "layer 'a', weight: num_bits is 1"),
        (damaged(layers__a__weight__num_bits=True), "layer 'a', weight.num_bits: expected `int`"),
        (damaged(layers__a__weight__num_bits="4"), "layer 'a', weight.num_bits: expected `int`"),
        (damaged(layers__a__weight__strategy="tensor"), "layer 'a': strategy of the weight is"),
        (damaged(layers__a__input__strategy="channel"), "layer 'a': strategy of the input is"),
        (damaged(layers__a__input__symmetric=True), "layer 'a', input: activations are quantized"),
        (damaged(layers__a__input__observer="luck"), "layer 'a', input: observer is \"luck\"; it"),
        (damaged(layers__a__input__dynamic=True), "layer 'a', input: dynamic is true"),
        (damaged(layers__a=3), "layer 'a': expected `object`, got `int`"),
        (damaged(layers=[]), "the recipe, layers: expected `object`, got `array`"),
        (damaged(budget={"size": 4.5}), "the recipe, budget[...]: expected `str`, got `float`"),
        (damaged(achieved={"size": "much"}), "the recipe, achieved[...]: expected `float`"),
        (damaged().replace('"achieved": {}', '"achieved": {"a": NaN}'), "the recipe is not JSON"),
        (damaged(seed=1.5), "the recipe, seed: expected `int`, got `float`"),
        (damaged(placement="all"), "the recipe: placement 'all' is unknown"),
        (damaged(solver={"method": "exact"}), "the recipe, solver: object missing required field"),
    ],
)
def test_a_damaged_recipe_says_where(text: str, message: str) -> None:
    with pytest.raises(EmqError) as refused:
        parse_recipe(text, "some.json")
    (diagnostic,) = refused.value.diagnostics
    assert (
        diagnostic.code == "E310"
        and diagnostic.path == "some.json"
        and diagnostic.message.startswith(message)
    )


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe")
    for name in ("missing.json", "bytes.json"):
        with pytest.raises(EmqError) as refused:
            load_recipe(tmp_path / name)
        assert refused.value.diagnostics[0].code == "E301"


@pytest.mark.parametrize("bits", [1, 9, 0, -2])
def test_widths_go_from_2_to_8(bits: int) -> None:
    with pytest.raises(EmqError, match="num_bits"):
        weight_scheme(bits)
    with pytest.raises(EmqError, match="num_bits"):
        input_scheme(bits)


@pytest.mark.parametrize(
    ("model", "layers", "message"),
    [
        (
            ModelIdentity("net", "1" * 64),
            ["a", "b"],
            "the recipe is for net with weights 000000000000, and this is net with weights 1",
        ),
        (MODEL, ["a", "c"], "the recipe has a layer 'b', which the network lacks"),
        (MODEL, ["a", "b", "c"], "the recipe lacks layer 'c'"),
        (MODEL, ["a", "b", "c", "d"], "the recipe lacks layer 'c' and 1 more"),
    ],
)
def test_a_recipe_of_another_network_is_refused(
    model: ModelIdentity, layers: list[str], message: str
) -> None:
    with pytest.raises(EmqError) as refused:
        check_fits(uniform(MODEL, ["a", "b"], 4, 8), model, layers)
    (diagnostic,) = refused.value.diagnostics
    assert diagnostic.code == "E311" and diagnostic.message.startswith(message)
    check_fits(uniform(MODEL, ["a", "b"], 4, 8), MODEL, ["b", "a"])
