"""Batch norms are folded where that is proven, and only there."""

from __future__ import annotations

import copy

import pytest
import torch
from networks import SHAPES, Chain, PreActivation, Sequence1d, Shared, Subclasses, images, seeded
from torch import Tensor, nn

from emqlang.quant.networks.network import Network, prepare


def prepared(network: type[nn.Module]) -> tuple[nn.Module, Network]:
    net = seeded(network)
    return net, prepare(net, images(network))


@pytest.mark.parametrize(
    ("network", "folded", "unfolded"),
    [
        (Chain, ("body.1", "body.4", "body.7", "body.10", "norm"), ()),
        (Sequence1d, ("norm",), ("channel_norm",)),
        (PreActivation, ("norm2",), ("norm1", "norm3")),
        (Shared, (), ("norm_a", "norm_b", "norm_twice")),
        (Subclasses, ("norm1",), ("norm2",)),
    ],
)
def test_what_is_folded(
    network: type[nn.Module], folded: tuple[str, ...], unfolded: tuple[str, ...]
) -> None:
    _, ready = prepared(network)
    assert (set(ready.folded), set(ready.unfolded)) == (set(folded), set(unfolded))
    modules = dict(ready.module.named_modules())
    assert all(type(modules[name]) is nn.Identity for name in folded)
    assert [d.code for d in ready.warnings if d.code == "W606"] == ["W606"] * bool(unfolded)
    assert all(f"'{name}'" in str(ready.warnings) for name in unfolded)


@pytest.mark.parametrize("network", SHAPES)
def test_the_copy_computes_the_same_and_the_original_is_untouched(network: type[nn.Module]) -> None:
    net = seeded(network)
    state = copy.deepcopy(net.state_dict())
    ready = prepare(net, images(network))
    x = images(network, 5, seed=9)
    with torch.no_grad():
        expected = net(x)
        torch.testing.assert_close(
            ready.module(x), expected, rtol=0, atol=1e-5 * float(expected.abs().max())
        )
    assert all(torch.equal(net.state_dict()[name], value) for name, value in state.items())
    assert len(list(net.modules())) == len(list(seeded(network).modules()))


def test_the_folded_weight_is_the_one_of_the_formula() -> None:
    net, ready = prepared(Chain)
    conv, norm = net.body[0], net.body[1]
    scale = (norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()).view(-1, 1, 1, 1)
    torch.testing.assert_close(ready.module.body[0].weight, (conv.weight * scale).float())
    torch.testing.assert_close(
        ready.module.body[0].bias, (norm.bias - norm.running_mean * scale.view(-1)).float()
    )


def check(net: nn.Module, x: Tensor, folded: tuple[str, ...]) -> None:
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_var is not None:
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    ready = prepare(net, x)
    assert tuple(ready.folded) == folded
    with torch.no_grad():
        torch.testing.assert_close(ready.module(x), net.eval()(x), rtol=1e-4, atol=1e-5)


def test_a_norm_without_statistics_stays() -> None:
    check(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
        torch.randn(2, 3, 6, 6),
        (),
    )


class NormAct(nn.BatchNorm2d):
    """A batch norm with an activation in its forward, as timm's but without parts."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).relu()


class NormParts(nn.BatchNorm2d):
    """timm's BatchNormAct2d: a batch norm, then its parts one after another."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.drop, self.act = nn.Identity(), nn.SiLU()

    def forward(self, input: Tensor) -> Tensor:
        moments = self.running_mean, self.running_var
        normed = nn.functional.batch_norm(
            input, *moments, self.weight, self.bias, False, 0, self.eps
        )
        result: Tensor = self.act(self.drop(normed))
        return result


class NormResidual(nn.BatchNorm2d):
    """Reads its input twice."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) + input


@pytest.mark.parametrize(
    ("norm", "folded"), [(NormAct, ("1",)), (NormParts, ("1",)), (NormResidual, ())]
)
def test_of_a_norm_with_more_in_it_the_rest_stays(
    norm: type[nn.BatchNorm2d], folded: tuple[str, ...]
) -> None:
    check(nn.Sequential(nn.Conv2d(3, 4, 3), norm(4)), torch.randn(2, 3, 6, 6), folded)


def test_of_a_folded_norm_with_parts_no_parameter_is_left() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), NormParts(4))
    ready = prepare(net, torch.randn(2, 3, 6, 6))
    assert [type(part) for part in ready.module[1]] == [nn.Identity, nn.SiLU]
    assert sum(parameter.numel() for parameter in ready.module.parameters()) == 4 * 27 + 4


def test_of_each_norm_that_stays_the_reason_is_told() -> None:
    _, ready = prepared(PreActivation)
    (warning,) = ready.warnings
    assert warning.message == (
        "batch norms that were not folded: 'norm1': it is not alone in reading what 'stem' puts "
        "out; 'norm3': what it reads is not put out by one layer"
    )
    _, ready = prepared(Shared)
    assert "'norm_twice': what it reads is not put out by one layer" in ready.warnings[0].message
    assert "'norm_b': the weight of 'conv' is used several times" in ready.warnings[0].message
    norm = nn.BatchNorm2d(4, track_running_stats=False)
    ready = prepare(nn.Sequential(nn.Conv2d(3, 4, 3), norm), torch.randn(2, 3, 6, 6))
    assert "'1': it has no running statistics" in ready.warnings[0].message


def test_a_norm_held_in_two_places_is_replaced_in_both() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    net.alias = nn.Module()
    net.alias.norm = net[1]
    net.alias.forward = lambda x: x
    ready = prepare(net, torch.randn(2, 3, 6, 6))
    assert ready.folded == {"1": "0"}
    assert type(ready.module.alias.norm) is nn.Identity


def test_a_norm_whose_attributes_the_network_reads_stays() -> None:
    class Reads(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = super().forward(x)
            return y + self[1].eps

    check(
        Reads(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)),
        torch.randn(2, 3, 6, 6),
        ("3",),
    )


def test_an_output_that_is_also_returned_is_not_folded() -> None:
    class Both(nn.Sequential):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
            hidden = self[0](x)
            return self[1](hidden), hidden

    check(Both(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), torch.randn(2, 3, 6, 6), ())


def test_an_output_that_is_changed_in_place_is_not_folded() -> None:
    check(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.BatchNorm2d(4)),
        torch.randn(2, 3, 6, 6),
        (),
    )


def test_a_half_precision_network_folds_to_its_own_precision() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(torch.bfloat16)
    ready = prepare(net, torch.randn(1, 3, 6, 6, dtype=torch.bfloat16))
    assert ready.module[0].weight.dtype == torch.bfloat16
