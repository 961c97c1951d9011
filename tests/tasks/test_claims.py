"""What recipes claim: refused where it has no form, left out where it is not so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.networks.network import load
from emqlang.quant.ptq.recipe import parse_recipe
from emqlang.tasks.assign import Chooser
from emqlang.tasks.claims import believed
from emqlang.tasks.problem import Constraints
from emqlang.tasks.workbench import WorkbenchOptions

TERMS: tuple[dict[str, Any], ...] = (
    {},
    {"fix": "conv1=8"},
    {"accounting": "emq"},
    {"act_bits": 4},
)


@pytest.fixture(scope="module", params=TERMS, ids=str)
def text(request: pytest.FixtureRequest) -> str:
    from emqlang.grammar import library

    terms = Constraints(avg_bits="3", **request.param)
    chooser = Chooser(WorkbenchOptions(), terms, lambda *_: None)
    recipe = chooser.best(library.find_one("-numel / bits")).recipe
    assert recipe is not None
    return recipe.as_json()


def test_a_recipe_that_nobody_edited_is_believed(text: str) -> None:
    recipe = parse_recipe(text)
    assert believed(recipe, load("resnet18-fmnist")) == (recipe, ())
    read = recipe.layers["conv1"].input
    assert read is not None and read.num_bits == 8, "the network's own input, whatever is chosen"


@pytest.mark.parametrize("bits", [2, 8])
def test_other_bits_lose_the_figures(text: str, bits: int) -> None:
    record = json.loads(text)
    for layer in record["layers"].values():
        layer["weight"]["num_bits"] = bits
    found, warnings = believed(parse_recipe(json.dumps(record)), load("resnet18-fmnist"))
    assert (found.achieved, found.budget, found.solver) == ({}, {}, None)
    assert [warning.code for warning in warnings] == ["W611"]


FALSE: tuple[dict[str, Any], ...] = (
    {"achieved": {"avg-bits": 3.0}},
    {"achieved": {"energy": 5.0}},
    {"budget": {"size": "1KiB"}},
    {"budget": {"avg-bits": "2"}},
    {"budget": {"size": "a lot"}},
    {"budget": {"energy": "3"}},
    {"accounting": "weights"},
    {"achieved": {"size": 5.0}},
)


@pytest.mark.parametrize("edit", FALSE, ids=str)
def test_every_figure_and_budget_is_computed_again(text: str, edit: dict[str, Any]) -> None:
    record = json.loads(text)
    for name, value in edit.items():
        record[name] = record[name] | value if isinstance(value, dict) else value
    found, (warning,) = believed(parse_recipe(json.dumps(record)), load("resnet18-fmnist"))
    assert warning.code == "W611" and "figures" in warning.message and found.solver is None
    for name, value in edit.items():
        for quantity in value if isinstance(value, dict) else ("size",):
            assert quantity in warning.message, name
            assert quantity not in {**found.achieved, **found.budget}
    assert found.bits == parse_recipe(text).bits


def test_bit_operations_of_another_input_leave_the_rest_as_it_is(text: str) -> None:
    record = json.loads(text)
    record["achieved"]["bops"] += 1
    found, (warning,) = believed(parse_recipe(json.dumps(record)), load("resnet18-fmnist"))
    recipe = parse_recipe(text)
    assert "bops" in warning.message and found.solver == recipe.solver
    assert found.budget == recipe.budget and set(found.achieved) == {"size", "avg-bits"}


def test_a_proof_without_figures_is_left_out(text: str) -> None:
    record = json.loads(text) | {"achieved": {}}
    found, warnings = believed(parse_recipe(json.dumps(record)), load("resnet18-fmnist"))
    assert found.solver is None and [warning.code for warning in warnings] == ["W611"]


def test_the_name_is_that_of_the_network_at_hand(text: str) -> None:
    record = json.loads(text)
    record["model"]["name"] = "another"
    found, warnings = believed(parse_recipe(json.dumps(record)), load("resnet18-fmnist"))
    assert found == parse_recipe(text) and warnings == ()


def test_a_latency_is_kept_only_where_nobody_can_have_edited_it(text: str) -> None:
    record = json.loads(text)
    record["achieved"]["latency"], record["budget"]["latency"] = 5e6, "6ms"
    recipe, network = parse_recipe(json.dumps(record)), load("resnet18-fmnist")
    assert believed(recipe, network, guarded=True) == (recipe, ())
    found, (warning,) = believed(recipe, network)
    assert warning.code == "W611" and "latency" in warning.message
    assert "latency" not in {**found.achieved, **found.budget} and found.solver is None
    assert found.achieved == parse_recipe(text).achieved


EDITS: tuple[dict[str, Any], ...] = (
    {"accounting": "zzz"},
    {"solver": {"method": "exact", "status": "optimal!!", "gap": None}},
    {"solver": {"method": "exact", "status": "optimal", "gap": -5.0}},
    {"schema_version": True},
    {"achieved": {"size": -1.0}},
)


@pytest.mark.parametrize("edit", EDITS, ids=str)
def test_what_has_no_form_is_refused(text: str, edit: dict[str, Any]) -> None:
    refused_with_e310(json.dumps(json.loads(text) | edit))


def test_texts_that_are_no_recipe(text: str) -> None:
    first = text.index("{", 1)
    refused_with_e310(text[:first] + '{"a": 1, "a": 2, ' + text[first + 1 :])
    refused_with_e310(text.replace('"seed": 0', '"seed": ' + "9" * 5000))
    refused_with_e310(text.replace('"seed": 0', '"seed": 0, "x": "\\ud800"'))
    refused_with_e310("[" * 50_000)


def refused_with_e310(text: str) -> None:
    with pytest.raises(EmqError) as refused:
        parse_recipe(text)
    assert refused.value.diagnostics[0].code == "E310"


def test_a_path_that_cannot_be(tmp_path: Path) -> None:
    from emqlang.quant.ptq.recipe import load_recipe

    for path in ("a" * 300, "a\0b"):
        with pytest.raises(EmqError) as refused:
            load_recipe(path)
        assert refused.value.diagnostics[0].code == "E301"
