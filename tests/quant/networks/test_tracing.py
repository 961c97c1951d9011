"""What the recorder sees, and that attention rewritten by its adapter is the same function."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from networks import ViT, collection_of, images, seeded
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention as attend
from torch.nn.utils import parametrizations
from torch.nn.utils.parametrize import is_parametrized

from emqlang.quant.networks.adapters import Attention, adapt
from emqlang.quant.networks.tracing import PRODUCTS, trace

X = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
PARAMETER = nn.Parameter(torch.randn(8, 8, generator=torch.Generator().manual_seed(1)))


class Function(nn.Module):
    """A function of one input and one 8 x 8 parameter."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function, self.p = function, PARAMETER

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.function(x, self.p)
        return result


# function -> multiply-accumulates with the parameter for both images of (2, 5, 8)
FUNCTIONS: dict[str, tuple[Any, int]] = {
    "matmul": (lambda x, p: x @ p, 10 * 64),
    "from the left": (lambda x, p: p @ x.mT, 10 * 64),
    "einsum": (lambda x, p: torch.einsum("nti,oi->nto", x, p), 10 * 64),
    "tensordot": (lambda x, p: torch.tensordot(x, p, dims=([2], [0])), 10 * 64),
    "addmm": (lambda x, p: torch.addmm(p[0], x[0], p), 5 * 64),
    "baddbmm": (lambda x, p: torch.baddbmm(x, x, p.expand(2, 8, 8)), 10 * 64),
    "mv": (lambda x, p: x[0] @ p[0], 5 * 8),
    "dot": (lambda x, p: torch.dot(x[0, 0], p[3]), 8),
    "chunk": (lambda x, p: x[..., :4] @ p.chunk(2)[1], 10 * 32),
    "unbind": (lambda x, p: sum(x @ row for row in p.unbind()[:3]), 10 * 24),
    "computed": (lambda x, p: x @ (p - p.mean()).tanh(), 10 * 64),
    "conv1d": (lambda x, p: nn.functional.conv1d(x.mT, p.view(8, 8, 1)), 10 * 64),
    "bilinear": (
        lambda x, p: nn.functional.bilinear(x[..., :4], x[..., :4], p.view(4, 4, 4)),
        10 * 64,
    ),
    "attention": (lambda x, p: attend(x, p.expand(2, 8, 8), x[:, :1].expand(2, 8, 8)), 10 * 64),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_product_with_a_parameter_is_seen(name: str) -> None:
    function, macs = FUNCTIONS[name]
    shown = trace(Function(function), X, {}, {}, lambda model, x: model(x))
    assert shown.uncovered == {"p": macs}


@pytest.mark.parametrize(
    "function",
    [
        lambda x, p: x @ x.mT,
        lambda x, p: x * p[0],
        lambda x, p: x + p.sum(0),
        lambda x, p: (x * p[0]) @ x.mT,
        lambda x, p: x,
    ],
)
def test_other_uses_of_a_parameter_are_not_products(function: Any) -> None:
    assert not trace(Function(function), X, {}, {}, lambda model, x: model(x)).uncovered


def test_uses_are_counted_with_the_result() -> None:
    net = nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4)).eval()

    def both(model: nn.Module, x: Tensor) -> Any:
        hidden = net[0](x)
        return net[1](hidden), hidden

    alone = trace(net, X[0], {"0": net[0]}, {"1": net[1]}, lambda model, x: model(x))
    with_result = trace(net, X[0], {"0": net[0]}, {"1": net[1]}, both)
    assert [(given.producer, given.uses) for given in alone.norms["1"]] == [("0", 1)]
    assert [(given.producer, given.uses) for given in with_result.norms["1"]] == [("0", 2)]


def test_a_tensor_changed_in_place_is_no_product_any_more() -> None:
    net = nn.Sequential(nn.Linear(8, 4), nn.ReLU(inplace=True), nn.BatchNorm1d(4)).eval()
    shown = trace(net, X[0], {"0": net[0]}, {"2": net[2]}, lambda model, x: model(x))
    assert shown.norms["2"][0].producer == ""


def test_the_forward_is_left_as_it_was() -> None:
    net = seeded(ViT)
    fast = torch.backends.mha.get_fastpath_enabled()
    collection_of(net, images(ViT))
    assert torch.backends.mha.get_fastpath_enabled() == fast
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_the_table_holds_every_op_by_its_packet() -> None:
    assert all(isinstance(op, torch._ops.OpOverloadPacket) for op in PRODUCTS)


def attention(**options: Any) -> tuple[nn.MultiheadAttention, Attention]:
    torch.manual_seed(0)
    original = nn.MultiheadAttention(8, 4, **options).eval()
    for parameter in original.parameters():
        nn.init.normal_(parameter, std=0.5)
    adapted = adapt(nn.Sequential(original))[0]
    assert isinstance(adapted, Attention)
    return original, adapted


def same(original: nn.Module, adapted: nn.Module, *args: Any, **options: Any) -> None:
    for result, expected in zip(adapted(*args, **options), original(*args, **options), strict=True):
        torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)


CAUSAL = torch.triu(torch.ones(5, 5, dtype=torch.bool), 1)
PADDING = torch.tensor([[False] * 5, [False, False, False, True, True]])
PER_HEAD = torch.randn(8, 5, 5, generator=torch.Generator().manual_seed(2))
MASKS: dict[str, dict[str, Any]] = {
    "none": {},
    "causal": {"attn_mask": CAUSAL},
    "per head": {"attn_mask": PER_HEAD},
    "padding": {"key_padding_mask": PADDING},
    "both": {"attn_mask": CAUSAL, "key_padding_mask": PADDING},
    "hint": {"attn_mask": CAUSAL, "is_causal": True},
}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no bias": {"bias": False},
    "bias kv": {"add_bias_kv": True},
    "zero": {"add_zero_attn": True, "add_bias_kv": True},
}


@pytest.mark.parametrize("grad", [True, False], ids=["slow", "fast"])
@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("masks", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_adapted_attention_is_the_same_function(
    options: dict[str, Any], masks: dict[str, Any], need_weights: bool, grad: bool
) -> None:
    original, adapted = attention(batch_first=True, **options)
    with torch.set_grad_enabled(grad):
        same(original, adapted, X, X, X, need_weights=need_weights, **masks)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("average", [True, False])
def test_adapted_attention_length_first_and_without_a_batch(
    need_weights: bool, average: bool
) -> None:
    original, adapted = attention()
    y = X.flip(1)
    options = {"need_weights": need_weights, "average_attn_weights": average}
    same(
        original,
        adapted,
        X.transpose(0, 1),
        y.transpose(0, 1),
        y.transpose(0, 1),
        key_padding_mask=PADDING,
        **options,
    )
    same(
        original,
        adapted,
        X[0],
        y[0],
        y[1],
        attn_mask=CAUSAL,
        key_padding_mask=PADDING[1],
        **options,
    )
    same(original, adapted, X[0], X[0], X[0], attn_mask=PER_HEAD[:4], **options)


def test_adapted_attention_with_keys_of_another_width() -> None:
    original, adapted = attention(kdim=3, vdim=6, batch_first=True)
    same(original, adapted, X, torch.randn(2, 7, 3), torch.randn(2, 7, 6))


def test_attention_itself_as_the_network_is_adapted() -> None:
    collection = collection_of(adapt(nn.MultiheadAttention(8, 2).eval()), (X, X, X))
    assert [layer.name for layer in collection.layers] == ["q_proj", "k_proj", "v_proj", "out_proj"]


def test_an_encoder_with_padding_agrees_where_nothing_is_padded() -> None:
    torch.manual_seed(0)
    original = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2
    ).eval()
    with torch.no_grad():
        expected = original(X, src_key_padding_mask=PADDING)
    adapted = adapt(original)
    with torch.no_grad():
        torch.testing.assert_close(
            adapted(X, src_key_padding_mask=PADDING)[~PADDING],
            expected[~PADDING],
            rtol=1e-5,
            atol=1e-5,
        )
    assert not collection_of(
        adapted, X, forward=lambda model, x: model(x, src_key_padding_mask=PADDING)
    ).uncovered


def test_attention_used_in_two_places_stays_one_module() -> None:
    shared = nn.MultiheadAttention(8, 2)
    net = adapt(nn.ModuleList([shared, nn.Sequential(shared)]))
    assert net[0] is net[1][0]


def test_a_parametrized_weight_becomes_plain() -> None:
    net = nn.Sequential(parametrizations.weight_norm(nn.Linear(8, 4)))
    expected = net(X)
    adapted = adapt(net)
    assert not is_parametrized(adapted[0])
    assert type(adapted[0]) is nn.Linear
    torch.testing.assert_close(adapted(X), expected)
    assert len(collection_of(adapted, X).layers) == 1


@pytest.mark.parametrize(
    "function",
    [
        lambda x, p: (x @ p).view(torch.int32).view(torch.float32) @ p,
        lambda x, p: torch.stack((x @ p).unbind(1), 1).split(1, 1)[0] @ p + (x @ p)[:, :1] @ p,
        lambda x, p: (x @ p).to(torch.float64).float() @ p,
        lambda x, p: (x @ p * torch.eye(8).to_sparse().to_dense()[0]) @ p,
        lambda x, p: (
            torch.view_as_real(torch.view_as_complex((x @ p).view(2, 5, 4, 2))).flatten(2) @ p
        ),
    ],
)
def test_what_moves_values_is_followed_or_let_go(function: Any) -> None:
    found = trace(Function(function), X, {}, {}, lambda model, x: model(x))
    assert found.uncovered["p"] >= 2 * 10 * 64 - 8 * 64


def test_a_kernel_that_is_moved_before_use_is_still_one() -> None:
    def generated(x: Tensor, p: Tensor) -> Tensor:
        kernels = (x[:, 0] @ p).view(2, 2, 4).transpose(1, 2).contiguous().relu() * 0.5
        return torch.bmm(x[:, :, :4], kernels)

    found = trace(Function(generated), X, {}, {}, lambda model, x: model(x))
    assert found.uncovered == {"p": 2 * 64 + 10 * 4 * 2}
