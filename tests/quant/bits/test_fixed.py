"""Choices that the user has fixed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.bits.fixed import allowed, extended, parse_fixed
from emqlang.quant.bits.menu import Choice, parse_bits
from emqlang.quant.networks.layers import Collection
from emqlang.quant.networks.network import load, prepare


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
        ("conv9=8", "'conv9' names no layer"),
        ("conv1", "'conv1' fixes nothing"),
        ("conv1=8,conv*=4", "layer 'conv1' is fixed to W8 and to W4"),
        ("conv1=eight", "'eight' is not a choice"),
        ("conv1=W4A8", "'W4A8' does not fit the menu"),
        ("conv1=99", "'99' is not a choice"),
    ],
)
def test_what_cannot_be_fixed(collection: Collection, text: str, message: str) -> None:
    with pytest.raises(EmqError) as caught:
        parse_fixed(text, collection, joint=False)
    assert caught.value.diagnostics[0].message == message and caught.value.exit_status == 2


class Tied(nn.Module):
    """Two layers with one weight, and one that is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.spare = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.b(self.a(x))
        return answer


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("b=8", "'b' shares its weight with 'a', and has its bits"),
        ("b*=8", "'b' shares its weight with 'a', and has its bits"),
        ("spare=8", "'spare' is not used for the rows looked at, and stays in float"),
    ],
)
def test_a_layer_that_has_no_bits_of_its_own_is_said_to(text: str, message: str) -> None:
    tied = prepare(Tied(), torch.zeros(1, 4)).collection
    with pytest.raises(EmqError) as caught:
        parse_fixed(text, tied, joint=False)
    (found,) = caught.value.diagnostics
    assert (found.code, found.message) == ("E402", message)
