"""Fixed choices and configurations from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.bits.fixed import allowed, extended, parse_fixed, read_configuration
from emqlang.quant.bits.menu import Choice, parse_bits
from emqlang.quant.networks.layers import Collection
from emqlang.quant.networks.network import load


@pytest.fixture(scope="module")
def collection() -> Collection:
    return load("resnet18-fmnist", "random").collection


def test_patterns_fix_the_groups_of_the_layers_that_they_name(collection: Collection) -> None:
    fixed = parse_fixed("conv1=8, fc=8,layer2.0.downsample.*=4", collection, joint=False)
    names = {collection.groups[group].name: str(choice) for group, choice in fixed.items()}
    assert names == {"conv1": "W8", "fc": "W8", "layer2.0.conv2": "W4"}


def test_fixed_choices_join_the_menu_for_their_groups_alone(collection: Collection) -> None:
    menu, fixed = parse_bits("2,3,4"), parse_fixed("conv1=8", collection, joint=False)
    assert extended(menu, fixed) == (*menu, Choice(8))
    table = allowed(menu, fixed, len(collection.groups))
    assert table[0].tolist() == [False, False, False, True]
    assert table[1:].tolist() == [[True, True, True, False]] * 17


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("conv9=8", "'conv9' names no layer of this network"),
        ("conv1", "'conv1' fixes nothing"),
        ("conv1=8,conv*=4", "group 'conv1' is fixed to W8 and to W4"),
        ("conv1=eight", "'eight' is no choice"),
        ("conv1=W4A8", "'W4A8' does not fit the menu"),
        ("conv1=99", "'99' is no choice"),
    ],
)
def test_what_cannot_be_fixed(collection: Collection, text: str, message: str) -> None:
    with pytest.raises(EmqError) as caught:
        parse_fixed(text, collection, joint=False)
    assert caught.value.diagnostics[0].message == message and caught.value.exit_status == 2


def test_published_lists_have_one_entry_a_group(collection: Collection) -> None:
    text = "[4, 3, 3, 4, 4, 4, 4, 4, 4, 4, 3, 3, 4, 4, 3, 3, 3, 3]"
    choices = read_configuration(text, collection)
    assert [choice.weight_bits for choice in choices] == json.loads(text)
    assert read_configuration(text.strip("[]"), collection) == choices


def test_a_list_may_have_one_entry_a_layer(collection: Collection) -> None:
    bits = {layer.name: 3 for layer in collection.layers} | {
        "conv1": 4,
        "layer2.0.conv2": 2,
        "layer2.0.downsample.0": 2,
    }
    choices = read_configuration(
        json.dumps([bits[layer.name] for layer in collection.layers]), collection
    )
    assert {g.name: c.weight_bits for g, c in zip(collection.groups, choices, strict=True)} == {
        group.name: bits[group.name] for group in collection.groups
    }


def test_a_json_file_names_layers(collection: Collection, tmp_path: Path) -> None:
    path = tmp_path / "bits.json"
    path.write_text(json.dumps({group.name: "W3A8" for group in collection.groups}))
    assert read_configuration(str(path), collection) == (Choice(3, 8),) * 18


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([4, 4], "the configuration has 2 entries; this network has 18 groups and 21 layers"),
        ({"conv1": 4}, "the configuration lacks 'layer1.0.conv1'"),
        ({"conv2": 4}, "'conv2' is no layer of this network"),
        (4, "a JSON configuration is a list, or an object of layer names to bits"),
    ],
)
def test_configurations_that_do_not_fit(
    collection: Collection, tmp_path: Path, record: object, message: str
) -> None:
    path = tmp_path / "bits.json"
    path.write_text(json.dumps(record))
    with pytest.raises(EmqError) as caught:
        read_configuration(str(path), collection)
    assert caught.value.diagnostics[0].message == message


def test_tied_layers_with_different_bits_are_refused(
    collection: Collection, tmp_path: Path
) -> None:
    path = tmp_path / "bits.json"
    record = {layer.name: 4 for layer in collection.layers} | {"layer2.0.downsample.0": 2}
    path.write_text(json.dumps(record))
    with pytest.raises(
        EmqError,
        match=r"tied layers layer2\.0\.conv2 and layer2\.0\.downsample\.0 have different bits: 4 and 2",
    ):
        read_configuration(str(path), collection)
