"""Modules that wrap another, or are none of Python's."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import emqlang as emq
from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.networks.adapters import bare
from emqlang.quant.networks.network import prepare

EXAMPLE = torch.zeros(1, 4)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def plain() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))


class Partly(nn.Module):
    def __init__(self, wrap: Callable[[nn.Module], nn.Module]) -> None:
        super().__init__()
        self.first, self.rest = nn.Linear(4, 4), wrap(plain())

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.rest(self.first(x))
        return answer


WRAPS: list[Callable[[nn.Module], nn.Module]] = [
    torch.compile,
    nn.DataParallel,
    lambda module: nn.DataParallel(torch.compile(module)),
]


@pytest.mark.parametrize("wrap", WRAPS)
def test_what_is_wrapped_is_quantized(wrap: Callable[[nn.Module], nn.Module]) -> None:
    module = wrap(plain())
    network = prepare(module, EXAMPLE)
    assert [layer.name for layer in network.collection.layers] == ["0", "2"]
    assert network.weights_sha256 == prepare(plain(), EXAMPLE).weights_sha256
    assert not network.warnings and bare(module) is not module
    part = prepare(Partly(wrap), EXAMPLE)
    assert [layer.name for layer in part.collection.layers] == ["first", "rest.0", "rest.2"]


def test_a_compiled_module_goes_from_bits_to_figures() -> None:
    module, batch = torch.compile(plain()), (torch.rand(8, 4), torch.zeros(8, dtype=torch.long))
    recipe = emq.assign("fisher_error", emq.collect(module, [batch], images=8), avg_bits=3)
    quantized = emq.quantize(module, recipe, [batch])
    assert quantized.module(batch[0]).shape == (8, 3)


@pytest.mark.parametrize(
    "made", [torch.jit.script, lambda module: torch.jit.trace(module, EXAMPLE)]
)
def test_a_torchscript_module_is_refused_and_a_part_stays(
    made: Callable[[nn.Module], nn.Module],
) -> None:
    with pytest.raises(EmqError) as failure:
        prepare(made(plain()), EXAMPLE)
    (diagnostic,) = failure.value.diagnostics
    assert diagnostic.code == "E306" and "TorchScript" in diagnostic.message
    network = prepare(Partly(made), EXAMPLE)
    assert [layer.name for layer in network.collection.layers] == ["first"]
    assert [warning.code for warning in network.warnings] == ["W605"]


def test_a_graph_module_is_as_any_other() -> None:
    network = prepare(torch.fx.symbolic_trace(plain()), EXAMPLE)
    assert [layer.name for layer in network.collection.layers] == ["0", "2"]


def test_the_wrapper_itself_is_left_as_it_was() -> None:
    module = nn.DataParallel(plain())
    before = copy.deepcopy(module.state_dict())
    prepare(module, EXAMPLE)
    assert list(before) == list(module.state_dict())


def test_a_wrapper_of_no_module_is_refused() -> None:
    with pytest.raises(EmqError, match="DataParallel wraps a tuple, not a"):
        prepare(nn.DataParallel((plain(), EXAMPLE)), EXAMPLE)  # type: ignore[type-var]


class Conv1D(nn.Module):
    """The linear layer of transformers' GPT-2: its weight lies inputs first."""

    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.nf = nf
        self.weight, self.bias = nn.Parameter(torch.randn(nx, nf)), nn.Parameter(torch.randn(nf))

    def forward(self, x: Tensor) -> Tensor:
        flat = torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight)
        return flat.view(*x.size()[:-1], self.nf)


class Own(nn.Module):
    """A linear layer of one's own, outputs first and without a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 6))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("...i,oi->...o", x, self.weight)


class Bent(nn.Module):
    """Has the parameters of a linear layer and is none."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 6))

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.weight).clamp(-100, 100)


def test_a_linear_layer_is_known_by_what_it_does() -> None:
    net, x = nn.Sequential(Conv1D(6, 4), Bent(), Own()), torch.randn(2, 5, 4)
    network = prepare(net, x)
    layers = network.collection.layers
    assert [(layer.name, layer.type, layer.shape) for layer in layers] == [
        ("0", "Linear", (6, 4)),
        ("2", "Linear", (3, 6)),
    ]
    assert network.collection.macs == (5 * 24, 5 * 18)
    assert [entry.name for entry in network.collection.uncovered] == ["1.weight"]
    torch.testing.assert_close(network.module(x), net(x))
    assert network.module[0].nf == 6 and type(net[0]) is Conv1D  # type: ignore[index]


def test_a_weight_that_another_module_reads_is_not_turned() -> None:
    """It is multiplied as it lies, in both."""
    net = nn.Sequential(Conv1D(4, 4), nn.Linear(4, 4))
    net[1].weight = net[0].weight
    x = torch.randn(2, 5, 4)
    network = prepare(net, x)
    torch.testing.assert_close(network.module(x), net(x))
    assert network.module[1].weight is network.module[0].weight  # type: ignore[index]
    assert network.collection.macs == (5 * 16,)
    assert network.collection.outside == (5 * 16,)
