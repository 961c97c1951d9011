"""Layers that see other rows from image to image, in float and once quantized."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.networks.network import Network, prepare
from emqlang.quant.ptq.check import check
from emqlang.quant.ptq.evaluate import evaluate
from emqlang.quant.ptq.quantize import quantize
from emqlang.quant.ptq.quantized import Quantized, identity, load_quantized
from emqlang.quant.ptq.reach import reach
from emqlang.quant.ptq.recipe import Procedure, uniform


class Experts(nn.Module):
    """Each row goes to one expert, weighted by the gate. (N, 16) to (N, 10)

    empty  experts of no row are called, too
    """

    def __init__(self, experts: int = 4, empty: bool = False) -> None:
        super().__init__()
        self.empty = empty
        self.gate = nn.Linear(16, experts)
        self.experts = nn.ModuleList(nn.Linear(16, 16) for _ in range(experts))
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        shares = self.gate(x).softmax(1)
        chosen, out = shares.argmax(1), torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            here = chosen == i
            if self.empty or here.any():
                out[here] = expert(x[here]) * shares[here, i : i + 1]
        logits: Tensor = self.head(out.relu())
        return logits


class EarlyExit(nn.Module):
    """Rows that are certain leave after the first stage; each stage adds to what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.first(x)
        unsure = x.std(1) < 1.2
        if unsure.any():
            x = x.index_put((unsure,), x[unsure] + self.second(x[unsure]))
        logits: Tensor = self.head(x)
        return logits


class Loops(nn.Module):
    """As many steps as the batch's largest value asks for: adaptive depth."""

    def __init__(self) -> None:
        super().__init__()
        self.step, self.head = nn.Linear(16, 16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(int(x.abs().max())):
            x = x + self.step(x).tanh()
        logits: Tensor = self.head(x)
        return logits


def images(count: int = 64, seed: int = 1) -> Tensor:
    return torch.randn(count, 16, generator=torch.Generator().manual_seed(seed))


def ready(kind: Any, *arguments: Any, rows: int = 64) -> Network:
    torch.manual_seed(0)
    return prepare(kind(*arguments).eval(), images(rows))


KINDS = [(Experts,), (Experts, 4, True), (EarlyExit,), (Loops,)]


def quantized(network: Network, bits: int, *settings: Any, **more: Any) -> Quantized:
    names = [layer.name for layer in network.collection.layers]
    recipe = uniform(identity(network), names, bits, 8)
    return quantize(network, recipe, [images(40), images(24, seed=2)], Procedure(*settings, **more))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind[0].__name__)
@pytest.mark.parametrize("rounding", ["nearest", "adaround", "brecq"])
def test_routed_networks_are_quantized(kind: Any, rounding: str, tmp_path: Path) -> None:
    network = ready(*kind)
    how = {"images": 64, "iterations": 4, "bias_correction": True, "fisher": True}
    found = quantized(network, 2, rounding, **how)
    for row in found.report:
        assert row.weight_bits == 2 and row.distinct <= 4 and row.weight_sqnr > 5
    assert all(weight.codes.max() < 4 for weight in found.weights.values())
    after = evaluate(found.module, [images(32, seed=3)], reference=network.module)
    assert after.agreement is not None and after.kl is not None and after.kl > 0
    found.save(tmp_path)
    again = load_quantized(tmp_path, ready(*kind))
    assert torch.equal(again.module(images(32)), found.module(images(32)))


def test_the_output_of_a_layer_that_gets_other_rows_is_not_compared() -> None:
    found = {row.name: row for row in quantized(ready(Experts), 4, images=64).report}
    assert all(found[f"experts.{i}"].output_sqnr is None for i in range(4))
    for name in ("gate", "head"):
        ratio = found[name].output_sqnr
        assert ratio is not None and 10 < ratio < 60


def test_routed_layers_are_known_and_others_are_not() -> None:
    network = ready(Experts)
    found = reach(network.module, network.collection.layers, [images()], network.forward)
    assert found.routed == {f"experts.{i}" for i in range(4)} and not found.unreached
    plain = prepare(nn.Sequential(nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, 2)).eval(), images())
    batches = [images(13), images(7), images(50)]
    found = reach(plain.module, plain.collection.layers, batches, plain.forward)
    assert not found.routed and len(found.examples) == 1


def test_sixty_four_experts_are_reached_by_images_far_behind_the_first() -> None:
    network = ready(Experts, 64, rows=2048)
    names = [layer.name for layer in network.collection.layers]
    recipe = uniform(identity(network), names, 4, 8)
    data = [images(256, seed=i) for i in range(4)]
    found = quantize(network, recipe, data, Procedure(images=1024))
    counts = torch.cat([network.module.gate(batch).argmax(1) for batch in data]).bincount()
    empty = {f"experts.{i}" for i, count in enumerate(counts) if not count} & set(names)
    assert len(names) > 55 and len(counts.nonzero()) > 40
    left = {name for name, entry in found.recipe.layers.items() if entry.input is None}
    assert left == empty
    assert bool(found.diagnostics) == bool(empty)


def test_the_8_bit_check_of_a_routed_network() -> None:
    network = ready(Experts)
    found = check(network, [images()], [images(500, seed=5)], images=64)
    assert found is not None and found.measure == "agreement with float" and found.images == 500


class Chooses(nn.Module):
    """The gate only chooses which expert a row goes to: nothing has a gradient in it."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(16, 3)
        self.experts = nn.ModuleList(nn.Linear(16, 10) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        chosen = self.gate(x).argmax(1)
        outputs = torch.stack([expert(x) for expert in self.experts], 1)
        return outputs[torch.arange(len(x)), chosen]


class WithoutGradient(Chooses):
    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


def test_a_router_without_a_gradient_is_rounded_unweighted() -> None:
    found = quantized(ready(Chooses), 2, "brecq", images=64, iterations=4, fisher=True)
    assert all(row.weight_bits == 2 and row.output_sqnr for row in found.report)
    with pytest.raises(EmqError, match="the network's output has no gradient") as refused:
        quantized(ready(WithoutGradient), 2, "brecq", images=64, iterations=4, fisher=True)
    assert refused.value.diagnostics[0].code == "E308"
    quantized(ready(WithoutGradient), 2, "brecq", images=64, iterations=4)
