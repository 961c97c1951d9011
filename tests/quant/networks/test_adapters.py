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
