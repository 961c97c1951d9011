"""Which layers a network has, their rows, groups and what they cost."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from networks import (
    SHAPES,
    Chain,
    Functional,
    Shared,
    Subclasses,
    Tiny,
    ViT,
    collection_of,
    images,
    seeded,
)
from torch import Tensor, nn

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.networks.facts import Group
from emqlang.quant.networks.layers import Layer


@pytest.mark.parametrize(
    ("module", "inputs", "outputs", "fan_in"),
    [
        (nn.Linear(5, 3), 5, 3, 5),
        (nn.Conv1d(4, 6, 5), 4, 6, 20),
        (nn.Conv2d(4, 8, 3, groups=2), 4, 8, 18),
        (nn.Conv2d(6, 6, 3, groups=6), 6, 6, 9),
        (nn.Conv3d(2, 3, (1, 2, 3)), 2, 3, 12),
        (nn.ConvTranspose1d(4, 6, 3), 4, 6, 12),
        (nn.ConvTranspose2d(6, 4, (2, 3), groups=2), 6, 4, 18),
        (nn.ConvTranspose3d(2, 5, 2), 2, 5, 16),
    ],
)
def test_rows_put_output_channels_first_and_come_back(
    module: nn.Module, inputs: int, outputs: int, fan_in: int
) -> None:
    layer = Layer("x", module, 0)
    assert layer.type == type(module).__name__
    assert (layer.channels_in, layer.channels_out, layer.fan_in) == (inputs, outputs, fan_in)
    assert layer.rows(layer.weight).shape == (outputs, fan_in)
    assert torch.equal(layer.unrows(layer.rows(layer.weight)), layer.weight)


@given(groups=st.integers(1, 3), inputs=st.integers(1, 3), outputs=st.integers(1, 3))
def test_a_row_of_a_transposed_convolution_is_what_makes_its_channel(
    groups: int, inputs: int, outputs: int
) -> None:
    module = nn.ConvTranspose2d(groups * inputs, groups * outputs, 2, groups=groups, bias=False)
    layer = Layer("x", module, 0)
    x = torch.randn(1, groups * inputs, 3, 3)
    with torch.no_grad():
        before = module(x)
        rows = layer.rows(module.weight).clone()
        rows[-1] *= 2
        module.weight.copy_(layer.unrows(rows))
        expected = before.clone()
        expected[:, -1] *= 2
    torch.testing.assert_close(module(x), expected)


def test_a_chain_in_order_with_its_costs() -> None:
    collection = collection_of(seeded(Chain), images(Chain, 3))
    assert [layer.name for layer in collection.layers] == [
        "body.0",
        "body.3",
        "body.6",
        "body.9",
        "hidden",
        "head",
    ]
    assert [layer.index for layer in collection.layers] == list(range(6))
    assert [layer.type for layer in collection.layers[1:4]] == [
        "Conv2d",
        "ConvTranspose2d",
        "ConvTranspose2d",
    ]
    # output elements x fan_in; of a transposed one input elements x weights of an input channel
    assert collection.macs == (8 * 64 * 18, 8 * 9 * 9, 8 * 9 * 27, 6 * 49 * 20, 5 * 7, 7 * 3)
    assert collection.act_numel == (8 * 64, 8 * 9, 6 * 49, 5 * 64, 7, 3)
    assert collection.total_macs == sum(collection.macs)
    assert not collection.uncovered
    assert not collection.unreached


@pytest.mark.parametrize("network", SHAPES)
def test_costs_are_those_of_one_image(network: type[nn.Module]) -> None:
    net = seeded(network)
    one, three = (collection_of(net, images(network, count)) for count in (1, 3))
    assert (one.macs, one.act_numel, one.total_macs) == (
        three.macs,
        three.act_numel,
        three.total_macs,
    )


def test_a_shared_module_or_weight_is_one_layer() -> None:
    collection = collection_of(seeded(Shared), images(Shared))
    assert [layer.name for layer in collection.layers] == ["conv", "left", "right", "first"]
    assert collection.macs[0] == 2 * 4 * 36 * 36
    assert collection.macs[3] == 2 * 16
    assert collection.act_numel[3] == 8


def test_subclasses_are_layers_of_their_base_type() -> None:
    collection = collection_of(seeded(Subclasses), images(Subclasses))
    assert [layer.type for layer in collection.layers] == ["Conv2d", "Conv2d", "Linear"]
    assert not collection.uncovered
    assert collection.act_numel[0] == 4 * 5 * 5


def test_bare_parameters_are_reported_with_their_share() -> None:
    collection = collection_of(seeded(Functional), images(Functional))
    assert [layer.name for layer in collection.layers] == ["inside"]
    assert {entry.name: (entry.numel, entry.macs) for entry in collection.uncovered} == {
        "bare": (32, 32), "stacked": (128, 128), "mixed": (24, 24),
    }  # fmt: skip
    assert collection.total_macs == 24 + 32 + 128 + 24
    assert collection.unreached == ("unused",)


def test_torch_attention_left_as_it_is_is_reported() -> None:
    collection = collection_of(seeded(ViT), images(ViT))
    assert "encoder.layers.0.self_attn.in_proj_weight" in {
        entry.name for entry in collection.uncovered
    }
    assert collection.unreached == ()  # their weights are read, outside of their forwards


@pytest.mark.parametrize("network", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_are_reported(network: type[nn.RNNBase]) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = network(3, 4, batch_first=True)
            self.fc = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.fc(self.rnn(x)[0][:, -1])
            return y

    net = Net()
    collection = collection_of(net, torch.randn(2, 5, 3))
    macs = {entry.name: entry.macs for entry in collection.uncovered}
    assert set(macs) == {"rnn.weight_ih_l0", "rnn.weight_hh_l0"}
    assert sum(macs.values()) == 5 * (net.rnn.weight_ih_l0.numel() + net.rnn.weight_hh_l0.numel())


def test_a_low_rank_update_is_reported_beside_its_layer() -> None:
    class LowRank(nn.Linear):
        def __init__(self) -> None:
            super().__init__(4, 4)
            self.down, self.up = nn.Parameter(torch.randn(4, 1)), nn.Parameter(torch.randn(1, 4))

        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input) + input @ self.down @ self.up

    collection = collection_of(LowRank(), torch.randn(2, 4))
    assert collection.macs == (16,)
    assert [(entry.name, entry.macs) for entry in collection.uncovered] == [("down", 4), ("up", 4)]


def test_experts_picked_by_index_are_reported() -> None:
    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate, self.experts = nn.Linear(4, 3), nn.Parameter(torch.randn(3, 4, 4))

        def forward(self, x: Tensor) -> Tensor:
            return torch.bmm(x[:, None], self.experts[self.gate(x).argmax(1)])[:, 0]

    collection = collection_of(Experts(), torch.randn(2, 4))
    assert [(entry.name, entry.macs) for entry in collection.uncovered] == [("experts", 16)]


def test_a_forward_in_inference_mode_is_seen_through() -> None:
    class Net(nn.Linear):
        @torch.inference_mode()
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input)

    assert collection_of(Net(3, 2), torch.randn(2, 5, 3)).macs == (5 * 6,)


def test_examples_may_be_tuples_dicts_or_fed_by_hand() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 2), nn.Linear(4, 2)

        def forward(self, x: Tensor, *, y: Tensor) -> Tensor:
            s: Tensor = self.a(x) + self.b(y)
            return s

    x, y = torch.randn(2, 3), torch.randn(2, 4)
    named = collection_of(Two(), {"x": x, "y": y})
    by_hand = collection_of(Two(), (x, y), forward=lambda model, pair: model(pair[0], y=pair[1]))
    assert named.macs == by_hand.macs == (6, 8)
    assert collection_of(nn.Sequential(nn.Linear(3, 2)), (x,)).macs == (6,)


def test_layers_without_a_tie_are_groups_of_one() -> None:
    collection = collection_of(seeded(Tiny), images(Tiny))
    assert collection.groups == (Group("one", (0,), 0), Group("equal", (1,), 1))


def test_ties_are_named_after_their_main_layer_and_stand_in_its_place() -> None:
    collection = collection_of(
        seeded(Chain), images(Chain), tied=[("hidden", "body.0"), ("body.6", "body.9")]
    )
    assert [(group.name, group.layers, group.main) for group in collection.groups] == [
        ("body.3", (1,), 1), ("body.6", (2, 3), 2), ("hidden", (0, 4), 4), ("head", (5,), 5),
    ]  # fmt: skip


def test_a_network_may_bring_its_ties() -> None:
    net = seeded(Chain)
    net.tied_layers = (("body.0", "body.3"),)
    assert len(collection_of(net, images(Chain)).groups) == 5
    assert len(collection_of(net, images(Chain), tied=()).groups) == 6


@pytest.mark.parametrize(
    ("tied", "message"),
    [
        (
            [("body.0", "hiden")],
            "a tie names 'hiden', which is not a quantizable layer of this network",
        ),
        (
            [("body.0", "body.1")],
            "a tie names 'body.1', which is not a quantizable layer of this network",
        ),
        ([("body.0", "head"), ("head", "hidden")], "layer 'head' is tied twice"),
    ],
)
def test_wrong_ties_are_refused(tied: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(EmqError) as caught:
        collection_of(seeded(Chain), images(Chain), tied=tied)
    assert [(d.code, d.message) for d in caught.value.diagnostics] == [("E309", message)]


def test_a_network_without_layers_is_refused() -> None:
    with pytest.raises(EmqError) as caught:
        collection_of(nn.Sequential(nn.ReLU(), nn.LayerNorm(4)), torch.randn(2, 4))
    assert caught.value.diagnostics[0].code == "E306"


def test_a_failing_forward_names_the_shape_of_the_example() -> None:
    with pytest.raises(EmqError) as caught:
        collection_of(seeded(Chain), torch.randn(2, 3, 8, 8))
    assert caught.value.diagnostics[0].code == "E308"
    assert "(2, 3, 8, 8)" in caught.value.diagnostics[0].message
    assert "\n" not in caught.value.diagnostics[0].message
