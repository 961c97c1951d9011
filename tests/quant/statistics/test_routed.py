"""Networks that send each row another way: a layer may see some rows, none, or others."""

from __future__ import annotations

import pytest
import torch
from measured import collect
from torch import Tensor, nn

from emqlang.grammar.inputs import INPUTS, Kind
from emqlang.quant.networks.network import Network, prepare
from emqlang.quant.statistics.table import Statistics

DATA = [name for name, row in INPUTS.items() if row.needs_data]


class Experts(nn.Module):
    """Row by row through the first or the second layer, by its sign; the third sees no row."""

    def __init__(self, skip: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.experts = nn.ModuleList(nn.Linear(6, 5) for _ in range(3))
        self.head, self.skip = nn.Linear(5, 3), skip

    def forward(self, x: Tensor) -> Tensor:
        kinds = (x[:, 0] > 0).long()
        out = x.new_zeros(len(x), 5)
        for number, expert in enumerate(self.experts):
            rows = kinds == (number if x[0, 1] < 9 else 2 - number)
            if rows.any() or not self.skip:
                out[rows] = expert(x[rows])
        return self.head(torch.tanh(out))


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x, labels = torch.randn(8, 6, generator=generator), torch.arange(8) % 3
    x[:, 0] = torch.tensor([1, 1, -1, 1, -1, 1, 1, 1]) * x[:, 0].abs()
    return x, labels


def network(skip: bool) -> Network:
    """It is traced on rows that reach every layer."""
    example = batch()[0]
    example[:, 1], example[::2, 0] = 9, -1
    more = batch()[0]
    return prepare(Experts(skip), example, more=lambda: [more])


@pytest.fixture(params=[True, False], ids=["skipped", "empty"])
def found(request: pytest.FixtureRequest) -> tuple[Network, Statistics]:
    net = network(request.param)
    return net, collect(net, DATA, *batch(), hessian_samples=2)


def test_layers_that_no_row_reaches_are_named(found: tuple[Network, Statistics]) -> None:
    _, statistics = found
    for name in DATA:
        missing = statistics.unmeasured.get(name, {})
        # features are compared image by image, and no expert has them for every image
        partly = {"experts.0", "experts.1"} if name == "orm" else set()
        assert set(missing) == {"experts.2", *partly}, name
        assert "on any of 8 images" in missing["experts.2"]
        assert statistics.array(name).isfinite().all()
    assert [each.code for each in statistics.warnings if each.code == "W613"]


def test_what_some_rows_reach_is_measured_on_those(found: tuple[Network, Statistics]) -> None:
    net, statistics = found
    x = batch()[0]
    outputs = [expert(x[(x[:, 0] > 0) == bool(i)]) for i, expert in enumerate(net.module.experts)][
        :2
    ]
    start = statistics.offsets["activation"]
    for index, output in enumerate(outputs):
        sample = statistics.array("act")[start[index] : start[index + 1]]
        nearest = (sample[:, None] - output.flatten()).abs().amin(1)
        assert len(sample) and float(nearest.max()) < 1e-6
        assert float(statistics.array("act_var")[index]) == pytest.approx(
            float(output.double().var(unbiased=False)), rel=1e-5
        )
        weights = statistics.offsets["weight"]
        inputs = x[(x[:, 0] > 0) == bool(index)].square().mean(0)
        x2 = statistics.array("x2")[weights[index] : weights[index + 1]].reshape(5, 6)
        assert torch.allclose(x2, inputs.expand(5, 6))


def test_every_activation_statistic_has_its_places(found: tuple[Network, Statistics]) -> None:
    _, statistics = found
    size = statistics.offsets["activation"][-1]
    for name in DATA:
        if INPUTS[name].kind is Kind.ACTIVATION:
            assert statistics.array(name).shape == (size,)
