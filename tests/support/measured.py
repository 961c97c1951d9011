"""A small network, its labelled images and its statistics, shared by the tests of statistics."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from networks import seeded
from torch import Tensor, nn

from emqlang.quant.bits.menu import parse_bits, parse_menu
from emqlang.quant.data.datasets import Dataset
from emqlang.quant.networks.hooks import listening
from emqlang.quant.networks.layers import readers
from emqlang.quant.networks.network import Network, prepare
from emqlang.quant.statistics.collect import collect_statistics
from emqlang.quant.statistics.options import StatisticsOptions
from emqlang.quant.statistics.table import Statistics

COUNT = 6


class Small(nn.Module):
    """Two convolutions, a pooling and a head; smooth, so that it has a Hessian. (N, 2, 5, 5)"""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 3, 2)
        self.second = nn.Conv2d(3, 4, 2, bias=False)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(torch.tanh(self.second(torch.tanh(self.first(x)))).mean((2, 3)))
        return logits


def small() -> nn.Module:
    return seeded(Small)


def data_of(values: Tensor, labels: Tensor | None) -> Dataset:
    return Dataset("these", "these", len(values), False, lambda: iter([(values, labels)]))


def labelled(
    net: nn.Module, shape: tuple[int, ...], count: int = COUNT, classes: int = 3
) -> tuple[Network, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    values = torch.randn(count, *shape, generator=generator)
    return prepare(net, values[:1]), values, torch.randint(classes, (count,), generator=generator)


def collect(
    network: Network,
    names: Iterable[str],
    values: Tensor,
    labels: Tensor | None,
    menu: str = "2,4",
    **options: Any,
) -> Statistics:
    """Statistics of these images, with the options of `StatisticsOptions`."""
    choices = parse_menu(menu) if "A" in menu else parse_bits(menu)
    data = data_of(values, labels)
    return collect_statistics(network, names, choices, data, StatisticsOptions(**options))


def layer_values(statistics: Statistics, name: str) -> list[Tensor]:
    """A weight statistic cut at the layers; its last axis."""
    offsets = statistics.offsets["weight"]
    return [statistics.array(name)[..., a:b] for a, b in pairwise(offsets)]


def outputs_of(network: Network, values: Tensor) -> list[Any]:
    """What every call of each layer puts out, layer by layer, and last the network's own answer.

    All of it is part of the graph.
    """
    layers = network.collection.layers
    outputs: dict[str, list[Any]] = {layer.name: [] for layer in layers}
    modules = readers(network.module, layers)
    with listening(modules, on_output=lambda name, output: outputs[name].append(output)):
        answer = network.module(values)
    return [*outputs.values(), answer]


def loss_of(network: Network, values: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(network.module(values), labels)
