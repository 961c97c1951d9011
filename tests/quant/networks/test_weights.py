"""Weights are installed where they fit, under the names that wrappers gave them, or refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.networks.weights import check_finite, fitting, install

State = dict[str, Tensor]


class Body(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1)
        self.norm = nn.BatchNorm2d(2)


class Net(nn.Module):
    """Its body's names begin as some wrappers' do."""

    def __init__(self, body: str = "features") -> None:
        super().__init__()
        self.add_module(body, Body())
        self.head = nn.Linear(2, 2)


class Inner(nn.Module):
    """All of its names begin with `model.`"""

    def __init__(self) -> None:
        super().__init__()
        self.model = Net()


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight


def prefixed(*prefixes: str) -> Callable[[State], State]:
    return lambda state: {"".join(prefixes) + name: tensor for name, tensor in state.items()}


def inside(part: str) -> Callable[[State], State]:
    return lambda state: {
        name.replace("features.", f"features.{part}"): tensor for name, tensor in state.items()
    }


def refusal(module: nn.Module, state: State) -> str:
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(EmqError) as failure:
        install(module, state, "w.pth")
    (diagnostic,) = failure.value.diagnostics
    assert (diagnostic.code, diagnostic.path) == ("E302", "w.pth")
    after = module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    return diagnostic.message


@pytest.mark.parametrize("make", [Net, Inner, lambda: Net("module"), lambda: Net("model")])
@pytest.mark.parametrize(
    "renamed",
    [
        prefixed(),
        prefixed("module."),
        prefixed("_orig_mod."),
        prefixed("module.", "_orig_mod."),
        prefixed("_orig_mod.", "module."),
        prefixed("model."),
        prefixed("model.", "_orig_mod."),
        prefixed("net."),
        prefixed("module.", "model.", "net."),
        prefixed("model.", "model."),
        inside("module."),
        inside("_orig_mod."),
        lambda state: {"n_averaged": torch.tensor(3), **prefixed("module.")(state)},
        lambda state: prefixed("model.")(inside("_orig_mod.module.")(state)),
    ],
)
def test_what_wrappers_put_before_names_goes(
    make: Callable[[], nn.Module], renamed: Callable[[State], State]
) -> None:
    ours, theirs = make(), make()
    install(ours, renamed(theirs.state_dict()), "w.pth")
    found = ours.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in theirs.state_dict().items())


def test_a_prefix_that_some_names_lack_stays() -> None:
    state = {"model.a": torch.zeros(1), "criterion.b": torch.zeros(1)}
    assert list(fitting(["a"], state)) == list(state)


def test_names_that_would_meet_stay() -> None:
    state = {"module.a": torch.zeros(1), "a": torch.ones(1)}
    assert list(fitting(["a"], state)) == list(state)


def test_both_what_is_missing_and_what_is_unknown_are_shown() -> None:
    state = {f"backbone.{name}": tensor for name, tensor in Net().state_dict().items()}
    state["head.weight"] = torch.zeros(3, 2)
    assert refusal(Net(), state) == (
        "the weights do not fit Net: "
        "'features.conv.weight' is missing, 'features.conv.bias' is missing, "
        "'features.norm.weight' is missing and 4 more; "
        "'backbone.features.conv.weight' is unknown, 'backbone.features.conv.bias' is unknown, "
        "'backbone.features.norm.weight' is unknown and 6 more; "
        "'head.weight' is (3, 2) and must be (2, 2)"
    )


@pytest.mark.parametrize("name", ["embed.weight", "head.weight"])
def test_tied_weights_may_be_there_once(name: str) -> None:
    net, values = Tied(), torch.rand(5, 3)
    install(net, {name: values}, "w.pth")
    assert torch.equal(net.head.weight, values) and torch.equal(net.embed.weight, values)
    assert "is missing" in refusal(Net(), {"head.weight": torch.zeros(2, 2)})


def one(tensor: Tensor, name: str = "head.weight") -> State:
    return {**Net().state_dict(), name: tensor}


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (torch.ones(2, 2, dtype=torch.complex64), "are complex64 and must be float32"),
        (torch.ones(2, 2, dtype=torch.int8), "are int8 and must be float32"),
        (torch.ones(2, 2, dtype=torch.int32), "are int32 and must be float32"),
        (torch.ones(2, 2, dtype=torch.bool), "are bool and must be float32"),
        (torch.ones(2, 2).to(torch.float8_e4m3fn), "are float8_e4m3fn and must be float32"),
        (torch.ones(2, 2).to_sparse(), "are sparse or nested"),
        (torch.ones(2, 2, device="meta"), "are on the meta device, without values"),
        (
            torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.qint8),
            "are quantized already",
        ),
        (torch.full((2, 2), 1e300, dtype=torch.float64), "hold values that are not finite"),
        (torch.full((2, 2), float("nan"), dtype=torch.float16), "hold values that are not finite"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_weights_of_the_wrong_type_are_refused(tensor: Tensor, said: str) -> None:
    assert refusal(Net(), one(tensor)) == f"weights 'head.weight' {said}"


@pytest.mark.parametrize("value", [torch.tensor(2.5), torch.tensor(1j)])
def test_whole_numbers_stay_whole(value: Tensor) -> None:
    name = "features.norm.num_batches_tracked"
    assert name in refusal(Net(), one(value, name))
    install(net := Net(), one(torch.tensor(3.0), name), "w.pth")
    assert int(net.state_dict()[name]) == 3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_widths_of_floating_point_are_taken(dtype: torch.dtype) -> None:
    install(net := Net(), one(torch.full((2, 2), 0.5, dtype=dtype)), "w.pth")
    assert net.head.weight.dtype == torch.float32 and net.head.weight.eq(0.5).all()


@pytest.mark.filterwarnings("error")
def test_complex_weights_are_looked_at_whole() -> None:
    check_finite({"w": torch.ones(2, dtype=torch.complex64)})
    with pytest.raises(EmqError, match="'w' hold values that are not finite"):
        check_finite({"w": torch.tensor([complex(1, float("nan"))])})


def test_a_module_without_values_is_refused() -> None:
    with pytest.raises(EmqError, match="meta device"):
        check_finite(nn.Linear(2, 2, device="meta").state_dict())


def test_a_lazy_module_takes_weights() -> None:
    net = nn.Sequential(nn.LazyLinear(2))
    install(net, {"0.weight": torch.ones(2, 3), "0.bias": torch.zeros(2)}, "w.pth")
    assert net[0].weight.shape == (2, 3)
