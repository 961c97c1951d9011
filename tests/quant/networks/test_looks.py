"""How many rows a network is looked at with, until all of its layers are used."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import emqlang as emq
from emqlang.quant.networks.looks import ENOUGH, MOST
from emqlang.quant.networks.network import Network, load, prepare

pytestmark = pytest.mark.filterwarnings("ignore::emqlang.EmqWarning")


class Experts(nn.Module):
    """Row by row, the last column says which expert takes it."""

    def __init__(self, count: int = 3) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(4, 2) for _ in range(count))
        self.spare = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        out = torch.zeros(len(x), 2)
        for number, expert in enumerate(self.experts):
            chosen = x[:, 3] == number
            if chosen.any():
                out[chosen] = expert(x[chosen])
        return out


class BySize(nn.Module):
    """One row goes another way than several do."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.several = nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = (self.one if len(x) == 1 else self.several)(x)
        return answer


def rows(*experts: int) -> Tensor:
    x = torch.randn(len(experts), 4, generator=torch.Generator().manual_seed(len(experts)))
    x[:, 3] = torch.tensor(experts)
    return x


def names(network: Network) -> list[str]:
    return [layer.name for layer in network.collection.layers]


def test_a_network_is_looked_at_until_all_its_layers_are_used() -> None:
    net = Experts()
    del net.spare
    data = [rows(0, 0), rows(1, 1, 0, 0), rows(2), rows(2)]
    ready = prepare(net, rows(0, 0), more=lambda: data)
    assert names(ready) == ["experts.0", "experts.1", "experts.2"]
    assert not ready.warnings
    # 2 rows, 1 of them alone, 2, 4 and 1: 7, 2 and 1 rows of 8 products
    assert ready.collection.rows == 10
    assert ready.collection.macs == (7 * 8 // 10, 2 * 8 // 10, 8 // 10)


def test_a_layer_that_is_not_used_is_named_with_the_rows_looked_at() -> None:
    ready = prepare(Experts(), rows(0, 0), more=lambda: [rows(1, 0), rows(0)])
    (warning,) = ready.warnings
    assert warning.code == "W608"
    assert warning.message == (
        "layers that were not used for the 6 rows looked at, left out: 'experts.2', 'spare'"
    )


def test_rows_that_all_go_one_way_are_looked_at_for_a_while() -> None:
    data = [rows(*[0] * 100) for _ in range(30)]
    assert ENOUGH <= prepare(Experts(), rows(0), more=lambda: data).collection.rows < ENOUGH + 32
    mixed = [rows(*[0, 1] * 50) for _ in range(30)]
    assert MOST <= prepare(Experts(), rows(0), more=lambda: mixed).collection.rows < MOST + 32


def test_what_one_row_uses_is_found() -> None:
    assert names(prepare(BySize(), rows(0, 0))) == ["one", "several"]


def test_a_forward_that_wants_its_own_number_of_rows_is_looked_at_with_that() -> None:
    class Two(Experts):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.view(2, 4))

    ready = prepare(Two(), rows(0, 0), more=lambda: [rows(1, 1), rows(0, 0, 1)])
    assert names(ready) == ["experts.0", "experts.1"]


def test_a_network_that_uses_all_of_itself_asks_for_no_more() -> None:
    net = nn.Sequential(nn.Linear(4, 2))
    assert prepare(net, rows(0, 0), more=lambda: pytest.fail("asked")).collection.rows == 2


def test_a_norm_is_folded_if_every_batch_that_shows_a_layer_agrees() -> None:
    class Norm(nn.Module):
        """The second expert reads what the norm before it is made of."""

        def __init__(self) -> None:
            super().__init__()
            self.a, self.n, self.b = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)
            self.n.running_mean.fill_(3.0)  # type: ignore[union-attr]

        def forward(self, x: Tensor) -> Tensor:
            h = self.n(self.a(x))
            if (x[:, 3] == 1).any():
                h = h + self.b(x).sum() * self.n.running_mean
            answer: Tensor = h
            return answer

    ready = prepare(Norm(), rows(0, 0), more=lambda: [rows(1, 1)])
    assert names(ready) == ["a", "b"]
    assert ready.unfolded == ("n",)


def test_the_data_of_the_api_are_looked_at() -> None:
    net = Experts()
    x = torch.cat([rows(0, 0), rows(*[0, 1, 2] * 10)])
    data = [(x, torch.zeros(32, dtype=torch.long))]
    statistics = emq.collect(net, data)
    assert names(statistics.network) == ["experts.0", "experts.1", "experts.2"]
    recipe = emq.assign("log(1 + bits * numel)", statistics, avg_bits=3)
    quantized = emq.quantize(net, recipe, data)
    assert sorted(quantized.weights) == ["experts.0", "experts.1", "experts.2"]


def test_the_data_of_the_api_are_looked_at_whatever_names_them(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(FACTORY)
    model, data = f"{tmp_path / 'net.py'}:build", f"{tmp_path / 'net.py'}:data"
    batches = [(torch.ones(8, 4), torch.zeros(8, dtype=torch.long))]
    recipe = emq.assign("log(1 + bits * numel)", emq.collect(model, data), avg_bits=3)
    for given in (data, batches):
        assert names(emq.collect(model, given).network) == ["a", "b"]
        assert sorted(emq.quantize(model, recipe, given, images=8).weights) == ["a", "b"]


def test_a_recipe_with_a_layer_that_is_not_used_here_says_so() -> None:
    net, few, many = Experts(), [rows(0, 0)], [rows(*[0, 1, 2] * 4)]
    recipe = emq.assign("log(1 + bits * numel)", emq.collect(net, many), avg_bits=3)
    with pytest.raises(emq.EmqError) as caught:
        emq.quantize(net, recipe, few)
    (found,) = caught.value.diagnostics
    assert found.code == "E311"
    assert "'experts.1' is not used for the rows looked at" in found.message


FACTORY = """
import torch
from torch import nn

class Experts(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, x):
        return torch.where(x[:, 3:] > 0, self.a(x), self.b(x)) if (x[:, 3] > 0).any() else self.b(x)

def build():
    return Experts(), -torch.ones(2, 4)

def data():
    yield torch.ones(8, 4), torch.zeros(8, dtype=torch.long)
"""


def test_the_data_of_a_command_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(FACTORY)
    model = f"{tmp_path / 'net.py'}:build"
    alone, beside = load(model), load(model, data=f"{tmp_path / 'net.py'}:data")
    assert (names(alone), names(beside)) == (["b"], ["a", "b"])
    assert [warning.code for warning in alone.warnings] == ["W608"]
    assert not beside.warnings
