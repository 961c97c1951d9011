"""Configurations that run what they share once are what `quantize` gives for each of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from attention import Decoder, FusedViT, texts
from networks import (
    SHAPES,
    Chain,
    Functional,
    PreActivation,
    Sequence1d,
    Shared,
    Subclasses,
    ViT,
    images,
    seeded,
)
from torch import Tensor, nn

from emqlang.quant.bits.menu import Choice, parse_menu
from emqlang.quant.networks.batches import feed
from emqlang.quant.networks.network import Network, prepare
from emqlang.quant.ptq.grids import WeightQuantizer
from emqlang.quant.ptq.quantize import quantize
from emqlang.quant.ptq.quantized import blank, identity
from emqlang.quant.ptq.recipe import LayerRecipe, Procedure, Recipe, input_scheme, weight_scheme
from emqlang.quant.tables import sampling
from emqlang.quant.tables.composition import Composition, Nearest
from emqlang.quant.tables.forward_order import ForwardOrder
from emqlang.quant.tables.output_cache import OutputCache

MENU = parse_menu("W2A8,W3A8,W4A8,W4A4")
ROWS = 14


class Chained(nn.Module):
    """Nested containers, operations in place, and a child that returns a pair. (N, 3, 8, 8)"""

    def __init__(self) -> None:
        super().__init__()
        inner = nn.Sequential(
            nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(6, 6, 3, padding=1)
        )
        self.body = nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.ReLU(inplace=True), inner, nn.Conv2d(6, 4, 3)
        )
        self.tail = nn.Sequential(nn.Linear(4, 4), Pair(), nn.Linear(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        x += 1  # writes to what `body` returned
        logits: Tensor = self.tail(x.mean((2, 3)))
        return logits


class Pair(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, x.relu()], -1)


class Wandering(nn.Module):
    """Goes through a Sequential's children itself, keeping what they return. (N, 3, 8, 8)"""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(3)))
        self.head = nn.Linear(9, 2)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for step in self.steps:
            x = step(x).relu()
            kept.append(x.mean((2, 3)))
        logits: Tensor = self.head(torch.cat(kept, -1))
        return logits


def own(kind: type[nn.Module], count: int, seed: int) -> Tensor:
    if kind is Decoder:
        return texts(count, seed)
    if kind in SHAPES:
        return images(kind, count, seed)
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


KINDS = [
    Chain,
    Sequence1d,
    PreActivation,
    Shared,
    Subclasses,
    Functional,
    ViT,
    FusedViT,
    Decoder,
    Chained,
    Wandering,
]


def composed(kind: type[nn.Module]) -> tuple[Composition, list[Tensor]]:
    network = prepare(seeded(kind), own(kind, 2, 0))
    batches = [own(kind, 8, seed) for seed in (1, 2, 3)]
    return Composition(network, Nearest(WeightQuantizer()), batches[:2], batches), batches


def configurations(network: Network) -> list[list[Choice]]:
    """A choice a layer, in an order in which neighbours share what a forward runs first."""
    rng = np.random.default_rng(0)
    return [
        [MENU[i] for i in rng.integers(len(MENU), size=len(network.collection.layers))]
        for _ in range(ROWS)
    ]


def directly(network: Network, choices: list[Choice], batches: list[Tensor]) -> Tensor:
    schemes = {
        layer.name: LayerRecipe(
            weight_scheme(choice.weight_bits), input_scheme(choice.act_bits or 8)
        )
        for layer, choice in zip(network.collection.layers, choices, strict=True)
    }
    module = quantize(
        network, Recipe(identity(network), schemes), batches[:2], Procedure(images=16)
    ).module
    with torch.no_grad():
        return torch.cat([feed(module, batch) for batch in batches])


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_share_are_rows_on_their_own(kind: type[nn.Module]) -> None:
    composition, batches = composed(kind)
    rows = configurations(composition.network)
    keys = [composition.keys(row) for row in rows]
    order = sampling.by_prefix(keys)
    cuts = sampling.cuts([keys[place] for place in order])
    shares = []
    for place, shared in zip(order, cuts, strict=True):
        logits, saved = composition.run(rows[place], shared)
        assert torch.equal(
            torch.cat(logits), directly(composition.network, rows[place], batches)
        ), rows[place]
        shares.append(saved)
    assert shares[0] == 0
    if kind in (Chain, PreActivation, FusedViT, Chained, Wandering):
        assert max(shares) > 0.1, "some prefix came back"


@pytest.mark.parametrize("kind", KINDS)
def test_rows_in_any_order_are_the_same(kind: type[nn.Module]) -> None:
    """Cuts are hints: wrong ones cost time and change nothing."""
    composition, batches = composed(kind)
    for row in configurations(composition.network)[:6]:
        logits, _ = composition.run(row, (1, 2, 3))
        assert torch.equal(torch.cat(logits), directly(composition.network, row, batches))


def test_nothing_is_kept_beyond_the_limit() -> None:
    composition, batches = composed(Chain)
    order = composition.order
    for limit in (0, 10_000, 1 << 30):
        cache = OutputCache(order, limit)
        with torch.no_grad(), cache.reusing("abcdefg"[: len(order.layers)], [1, 2]):
            for batch in batches:
                composition.module(batch)
        assert cache.bytes <= limit and (limit < 1 << 30 or cache.kept)


def test_what_somebody_listens_to_always_runs() -> None:
    network = prepare(seeded(Chained), own(Chained, 2, 0))
    heard: list[int] = []
    module = blank(network)
    module.get_submodule("body.0").register_forward_hook(lambda *_: heard.append(1))
    order = ForwardOrder.of(module, network.collection.layers, own(Chained, 2, 0), feed)
    assert "body.0" not in order.parts and "body" not in order.parts and "body.2" in order.parts
    cache = OutputCache(order)
    for keys in ("aaaaaa", "aaaabb"):
        with torch.no_grad(), cache.reusing(keys, [4]):
            module(own(Chained, 2, 0))
    assert len(heard) == 3, "once for the order, and once in each pass"


def test_layers_are_in_the_order_of_the_forward() -> None:
    network = prepare(seeded(Decoder), texts())
    order = ForwardOrder.of(blank(network), network.collection.layers, texts(), feed)
    names = [network.collection.layers[index].name for index in order.layers]
    assert names[0] == "head", "its weight is the embedding's, which is read first"
    assert names[1:3] == ["blocks.0.attention.qkv", "blocks.0.attention.proj"]


@pytest.mark.parametrize("break_at", [0, 1])
def test_a_pass_that_breaks_off_leaves_the_network_as_it_was(break_at: int) -> None:
    composition, batches = composed(Chain)
    rows = configurations(composition.network)[:2]
    composition.run(rows[0], (1, 2))
    fails: Callable[..., None] = lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)  # noqa: E731
    handle = composition.module.get_submodule(("body", "head")[break_at]).register_forward_hook(
        fails
    )
    with pytest.raises(KeyboardInterrupt):
        composition.run(rows[1], (1, 2))
    handle.remove()
    logits, _ = composition.run(rows[1], (1, 2))
    assert torch.equal(torch.cat(logits), directly(composition.network, rows[1], batches))
