"""Configurations from elsewhere: lists as they are published, and JSON files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.bits.configuration import configuration_text, read_configuration
from emqlang.quant.bits.menu import Choice
from emqlang.quant.networks.layers import Collection
from emqlang.quant.networks.network import load


@pytest.fixture(scope="module")
def collection() -> Collection:
    return load("resnet18-fmnist", "random").collection


def test_published_lists_have_one_entry_per_group(collection: Collection) -> None:
    text = "[4, 3, 3, 4, 4, 4, 4, 4, 4, 4, 3, 3, 4, 4, 3, 3, 3, 3]"
    choices = read_configuration(text, collection)
    assert [choice.weight_bits for choice in choices] == json.loads(text)
    assert read_configuration(text.strip("[]"), collection) == choices


def test_a_list_may_have_one_entry_per_layer(collection: Collection) -> None:
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
        ({"conv2": 4}, "this network has no layer 'conv2'"),
        (4, "the configuration: expected `object | array`, got `int`"),
        ([4, 4.5], "the configuration, [1]: expected `int | str`, got `float`"),
        (["4,4"], "'4,4' is not a choice"),
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
    layers = r"layer2\.0\.conv2 and layer2\.0\.downsample\.0"
    with pytest.raises(EmqError, match=f"tied layers {layers} have different bits: 4 and 2"):
        read_configuration(str(path), collection)


@pytest.mark.parametrize("choices", [(Choice(4), Choice(2)) * 9, (Choice(2, 8), Choice(3, 4)) * 9])
def test_configurations_are_read_as_they_are_written(
    collection: Collection, choices: tuple[Choice, ...]
) -> None:
    assert read_configuration(configuration_text(choices), collection) == choices
