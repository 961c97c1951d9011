"""What choices cost, against figures that others published."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import nn

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.bits import costs
from emqlang.quant.bits.menu import Choice
from emqlang.quant.networks.network import Network, load, prepare

MENU = tuple(Choice(bits, None) for bits in range(2, 9))

# OMPQ's published bits for ResNet-18 (conv1, 16 block convolutions, fc), and its size in MiB.
OMPQ = {
    3.0: (4, 3, 4, 4, 4, 4, 4, 3, 4, 4, 2, 2, 2, 2, 2, 2, 2, 2),
    3.5: (4, 3, 3, 4, 4, 4, 4, 4, 4, 4, 3, 3, 4, 3, 2, 2, 2, 3),
    4.0: (4, 4, 4, 4, 4, 4, 4, 3, 3, 3, 3, 3, 4, 3, 2, 3, 3, 3),
    4.5: (4, 3, 3, 4, 4, 4, 4, 4, 4, 4, 3, 3, 4, 4, 3, 3, 3, 3),
    5.0: (4, 3, 3, 3, 4, 4, 4, 3, 4, 3, 4, 3, 4, 3, 3, 4, 4, 4),
    5.5: (4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 3, 4, 4, 4, 4, 4, 4, 4),
    6.7: (8, 8, 8, 8, 8, 7, 8, 8, 8, 8, 4, 6, 8, 4, 4, 4, 4, 8),
}


@pytest.fixture(scope="module")
def resnet() -> Network:
    return load("resnet18", "random")


def uniform(network: Network, bits: int) -> tuple[int, ...]:
    return (bits - 2,) * len(network.collection.groups)


def mib(network: Network, configuration: Sequence[int], accounting: str) -> float:
    budget = costs.size(network, MENU, accounting)
    return budget.cost(tuple(bits - 2 for bits in configuration)) / 2**20


def test_resnet18_has_the_papers_sizes(resnet: Network) -> None:
    assert resnet.parameters * 4 / 2**20 == pytest.approx(44.59, abs=0.005)  # Table 4: 44.6
    assert mib(resnet, (8,) * 18, "emq") == pytest.approx(11.148, abs=0.0005)
    for bits, size in ((2, 2.787), (3, 4.180), (4, 5.574)):
        assert mib(resnet, (bits,) * 18, "emq") == pytest.approx(size, abs=0.0006)


def test_resnet18_has_the_papers_bit_operations(resnet: Network) -> None:
    eight = uniform(resnet, 8)
    assert costs.bops(resnet, MENU).cost(eight) / 1e9 == pytest.approx(116.1, abs=0.05)
    assert costs.bops(resnet, MENU, "emq").cost(eight) / 1e9 == pytest.approx(116.9, abs=0.05)


@pytest.mark.parametrize(("published", "bits"), OMPQ.items())
def test_published_configurations_have_their_published_sizes(
    resnet: Network, published: float, bits: tuple[int, ...]
) -> None:
    assert mib(resnet, bits, "emq") == pytest.approx(published, abs=0.003)


def test_the_published_6_7_mb_has_its_published_bit_operations(resnet: Network) -> None:
    choices = tuple(bits - 2 for bits in OMPQ[6.7])
    assert costs.bops(resnet, MENU, "emq", act_bits=6).cost(choices) / 1e9 == pytest.approx(
        75.1, abs=0.05
    )
    assert costs.bops(resnet, MENU, "emq", act_bits=8).cost(choices) / 1e9 == pytest.approx(
        97.5, abs=0.05
    )


def test_full_accounting_counts_scales_zero_points_and_everything_else(resnet: Network) -> None:
    weights, full = costs.size(resnet, MENU, "weights"), costs.size(resnet, MENU, "full")
    channels = sum(layer.channels_out for layer in resnet.collection.layers)
    eight = uniform(resnet, 8)
    assert full.cost(eight) - weights.cost(eight) == 5 * channels
    numel = sum(layer.numel for layer in resnet.collection.layers)
    biases = channels  # every batch norm was folded into a bias; fc had one
    assert weights.cost(eight) == numel + 4 * biases


def test_every_layer_is_padded_to_a_byte() -> None:
    network = prepare(
        nn.Sequential(nn.Linear(3, 1, bias=False), nn.Linear(1, 1, bias=False)), torch.zeros(1, 3)
    )
    assert costs.size(network, (Choice(3, None),), "weights").cost((0, 0)) == 2 + 1


def test_activation_bits_count_except_at_the_input() -> None:
    network = prepare(nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 7)), torch.zeros(1, 3))
    menu = (Choice(2, 4), Choice(4, 4))
    assert costs.bops(network, menu).costs.tolist() == [
        [15 * 2 * 8, 15 * 4 * 8],
        [35 * 2 * 4, 35 * 4 * 4],
    ]


def test_average_bits_are_weighted_by_weights() -> None:
    network = prepare(nn.Sequential(nn.Linear(30, 10), nn.Linear(10, 10)), torch.zeros(1, 30))
    budget = costs.average_bits(network, (Choice(2, None), Choice(6, None)))
    assert budget.cost((0, 1)) / budget.per == pytest.approx((300 * 2 + 100 * 6) / 400)
    second = costs.average_bits(network, (Choice(2, None), Choice(6, None)), free=[1])
    assert second.cost((0, 1)) / second.per == 6


def test_what_no_layer_covers_counts_at_32_bits() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.bare = nn.Linear(4, 3, bias=False), nn.Parameter(torch.ones(3, 2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.layer(x) @ self.bare
            return out

    network = prepare(Bare(), torch.zeros(1, 4))
    assert costs.bops(network, MENU).base == 6 * 32 * 32
    assert costs.size(network, MENU, "weights").base == 6 * 4


def latency_csv(folder: Path, *rows: str) -> Path:
    path = folder / "latency.csv"
    path.write_text("\n".join(("layer,choice,milliseconds", *rows)) + "\n")
    return path


def test_latency_adds_up(tmp_path: Path) -> None:
    network = prepare(nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 7)), torch.zeros(1, 3))
    path = latency_csv(tmp_path, "0,W2,0.5", "0,W4,1", "1,W2,0.25", "1,W4,2")
    budget = costs.latency(network, (Choice(2, None), Choice(4, None)), path)
    assert budget.cost((1, 0)) == 1_250_000 and budget.show(1_250_000) == "1.25 ms"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (("0,W2,0.5",), "the latency table lacks 1 rows: 1 W2"),
        (("0,W2,0.5", "1,W2,fast"), "line 3: 'fast' is not a time in milliseconds"),
        (("0,W2,0.5", "1,W2,-1"), "line 3: '-1' is not a time in milliseconds"),
        (("0,W2,0.5", "0,W2,1"), "line 3 repeats 0 W2"),
        (
            ("0,W2,0.5", "1,W2,1", "fc,W2,1"),
            "the latency table names layer 'fc', which this network lacks",
        ),
        (("0,W2",), "line 2 lacks a layer, a choice or milliseconds"),
    ],
)
def test_latency_tables_that_do_not_fit(
    tmp_path: Path, rows: tuple[str, ...], message: str
) -> None:
    network = prepare(nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 7)), torch.zeros(1, 3))
    with pytest.raises(EmqError) as caught:
        costs.latency(network, (Choice(2, None),), latency_csv(tmp_path, *rows))
    assert caught.value.diagnostics[0].message == message and caught.value.exit_status == 3
