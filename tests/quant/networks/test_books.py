"""Every product with a parameter is in the books once, under its name; figures are by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from networks import collection_of
from torch import Tensor, nn

from emqlang.quant.bits.costs import bops, size
from emqlang.quant.bits.menu import parse_bits
from emqlang.quant.networks.network import prepare


class Net(nn.Module):
    """A function of its parts, which are modules and parameters, and an input."""

    def __init__(self, function: Callable[..., Any], **parts: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Any) -> Any:
        return self.function(self, x)


def parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(0)))


FLAT = torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
IDS = torch.tensor([[1, 2, 3, 4, 5, 6], [7, 8, 9, 0, 1, 2]])
IMAGES = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
TOKENS = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))
Books = tuple[dict[str, int], dict[str, tuple[int, int]]]


def books(net: nn.Module, example: Any) -> Books:
    """MACs of each layer for one row; elements and MACs of what stays at 32 bits."""
    found = collection_of(net.eval(), example)
    layers = {layer.name: macs for layer, macs in zip(found.layers, found.macs, strict=True)}
    return layers, {entry.name: (entry.numel, entry.macs) for entry in found.uncovered}


def hyper(function: Callable[[Any, Tensor], Tensor]) -> Net:
    return Net(function, h=nn.Linear(16, 64), o=nn.Linear(4, 2))


def styled(m: Any, x: Tensor) -> Tensor:
    """A kernel per image: w scaled by what a layer makes of it, as a grouped convolution."""
    kernel = m.w * (1 + m.a(x.flatten(1)))[:, None, :, None, None]
    y = F.conv2d(x.view(1, 2, 8, 8), kernel.reshape(8, 1, 3, 3), groups=2)
    return m.o(y.view(2, 4, 36).mean(2))  # type: ignore[no-any-return]


def conditional(m: Any, x: Tensor) -> Tensor:
    """A kernel per image: a mixture of three."""
    kernel = m.r(x.flatten(1)).softmax(1) @ m.w.flatten(1)
    y = F.conv2d(x.view(1, 2, 8, 8), kernel.view(8, 1, 3, 3), groups=2)
    return m.o(y.view(2, 4, 36).mean(2))  # type: ignore[no-any-return]


class Adapted(nn.Linear):
    """A low-rank adapter that is added to the weight in the forward."""

    def __init__(self) -> None:
        super().__init__(16, 16)
        self.a, self.b = parameter(2, 16), parameter(16, 2)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight + self.b @ self.a, self.bias)


class Rotated(nn.Linear):
    """A weight that a matrix turns before use."""

    def __init__(self) -> None:
        super().__init__(16, 16)
        self.r = parameter(16, 16)

    def forward(self, input: Tensor) -> Tensor:
        return input @ (self.weight @ self.r).t()


class Masked(nn.Linear):
    def __init__(self) -> None:
        super().__init__(16, 4)
        self.register_buffer("mask", (torch.arange(64).view(4, 16) % 2).float())

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight * self.mask, self.bias)


class Scaled(nn.Linear):
    def __init__(self) -> None:
        super().__init__(16, 4)
        self.gain = parameter(4, 1)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight * self.gain, self.bias)


def tied(m: Any, x: Tensor) -> Tensor:
    """Embeddings whose table is the head's weight, too."""
    return F.linear(m.o(m.e(x)), m.e.weight)


class Cosine(nn.Linear):
    """A classifier by angles."""

    def __init__(self) -> None:
        super().__init__(16, 4, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        return 16 * F.linear(F.normalize(input), F.normalize(self.weight))


class Dynamic(nn.Conv2d):
    """Attends to its own channels: the kernel is another one for each image."""

    def __init__(self) -> None:
        super().__init__(1, 4, 3)
        self.attention = nn.Linear(1, 4)

    def forward(self, input: Tensor) -> Tensor:
        share = self.attention(input.mean((2, 3))).sigmoid()
        kernel = (self.weight * share[:, :, None, None, None]).reshape(8, 1, 3, 3)
        return F.conv2d(input.view(1, 2, 8, 8), kernel, groups=2).view(2, 4, 6, 6)


class Stored(nn.Module):
    """Its weight is stored in 8 bits and multiplied in float."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("w", torch.arange(-32, 32, dtype=torch.int8).view(4, 16))
        self.register_buffer("scale", torch.full((4, 1), 0.1))
        self.o = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.o(F.linear(x, self.w.float() * self.scale))
        return answer


TABLE, BAG = nn.Embedding(50, 16), nn.EmbeddingBag(50, 16)
CASES: dict[str, tuple[nn.Module, Tensor, Books]] = {
    "a table": (
        Net(lambda m, x: m.o(m.e(x).mean(1)), e=TABLE, o=nn.Linear(16, 10)),
        IDS, ({"o": 160}, {"e.weight": (800, 0)}),
    ),
    "a bag": (
        Net(lambda m, x: m.o(m.e(x)), e=BAG, o=nn.Linear(16, 10)),
        IDS, ({"o": 160}, {"e.weight": (800, 0)}),
    ),
    "a table of one's own": (
        Net(lambda m, x: m.o(m.e[x].mean(1)), e=parameter(50, 16), o=nn.Linear(16, 10)),
        IDS, ({"o": 160}, {"e": (800, 0)}),
    ),
    "a table and places and a norm": (
        Net(
            lambda m, x: m.o(m.n(m.e(x) + m.p)),
            e=TABLE, p=parameter(6, 16), n=nn.LayerNorm(16), o=nn.Linear(16, 4),
        ), IDS, ({"o": 6 * 64}, {"e.weight": (800, 0)}),
    ),
    "a head that is the table": (
        Net(tied, e=TABLE, o=nn.Linear(16, 16)),
        IDS, ({"o": 6 * 256}, {"e.weight": (800, 6 * 800)}),
    ),
    "an adapter in the forward": (
        nn.Sequential(Adapted(), nn.Linear(16, 10)),
        FLAT, ({"1": 160}, {"0.weight": (256, 256), "0.a": (32, 0), "0.b": (32, 0)}),
    ),
    "a weight that is turned": (
        nn.Sequential(Rotated(), nn.Linear(16, 10)),
        FLAT, ({"1": 160}, {"0.weight": (256, 256), "0.r": (256, 0)}),
    ),
    "an adapter of parameters": (
        Net(
            lambda m, x: m.o(x @ (m.w + m.b @ m.a)),
            o=nn.Linear(16, 2), w=parameter(16, 16), a=parameter(2, 16), b=parameter(16, 2),
        ), FLAT, ({"o": 32}, {"w": (256, 256), "a": (32, 0), "b": (32, 0)}),
    ),
    "weights of two layers as one": (
        Net(
            lambda m, x: m.o(F.linear(x, torch.cat([m.q.weight, m.k.weight]))),
            q=nn.Linear(16, 4), k=nn.Linear(16, 4), o=nn.Linear(8, 2),
        ), FLAT, ({"o": 16}, {"q.weight": (64, 128), "k.weight": (64, 0)}),
    ),
    "a mask": (Masked(), FLAT, ({"": 64}, {})),
    "a number per channel": (Scaled(), FLAT, ({"": 64}, {})),
    "a weight of length 1": (Cosine(), FLAT, ({"": 64}, {})),
    "a modulated matrix, expanded": (
        Net(
            lambda m, x: m.o(
                torch.bmm(m.w * m.a(x)[:, None].expand(2, 4, 16), x[:, :, None])[:, :, 0]
            ),
            a=nn.Linear(16, 16), o=nn.Linear(4, 2), w=parameter(4, 16),
        ), FLAT, ({"a": 256, "o": 8}, {"w": (64, 64)}),
    ),
    "a modulated kernel": (
        Net(styled, a=nn.Linear(64, 1), o=nn.Linear(4, 2), w=parameter(4, 1, 3, 3)),
        IMAGES, ({"a": 64, "o": 8}, {"w": (36, 36 * 36)}),
    ),
    "a modulated matrix": (
        Net(
            lambda m, x: m.o(torch.bmm(m.w * m.a(x)[:, None], x[:, :, None])[:, :, 0]),
            a=nn.Linear(16, 16), o=nn.Linear(4, 2), w=parameter(4, 16),
        ), FLAT, ({"a": 256, "o": 8}, {"w": (64, 64)}),
    ),
    "a mixture of kernels": (
        Net(conditional, r=nn.Linear(64, 3), o=nn.Linear(4, 2), w=parameter(3, 4, 1, 3, 3)),
        IMAGES, ({"r": 192, "o": 8}, {"w": (108, 108 + 36 * 36)}),
    ),
    "a kernel that a layer makes": (
        Net(
            lambda m, x: m.o(F.conv2d(x, m.h(x.mean((0, 2, 3))).view(4, 1, 3, 3)).mean((2, 3))),
            h=nn.Linear(1, 36), o=nn.Linear(4, 10),
        ), IMAGES, ({"h": 18, "o": 40}, {"h.weight": (0, 36 * 36)}),
    ),
    "a matrix that a layer makes": (
        hyper(lambda m, x: m.o(F.linear(x, m.h(x.mean(0)).view(4, 16).tanh()))),
        FLAT, ({"h": 512, "o": 8}, {"h.weight": (0, 64)}),
    ),
    "a matrix that a layer makes of each row": (
        hyper(lambda m, x: m.o(torch.bmm(m.h(x).view(-1, 4, 16), x[:, :, None])[:, :, 0])),
        FLAT, ({"h": 1024, "o": 8}, {"h.weight": (0, 64)}),
    ),
    "the same by einsum": (
        hyper(lambda m, x: m.o(torch.einsum("noi,ni->no", m.h(x).view(-1, 4, 16), x))),
        FLAT, ({"h": 1024, "o": 8}, {"h.weight": (0, 64)}),
    ),
    "a matrix that a layer makes of a parameter": (
        Net(
            lambda m, x: m.o(x @ m.h(m.z).view(16, 4)),
            h=nn.Linear(3, 64), o=nn.Linear(4, 2), z=parameter(3),
        ), FLAT, ({"h": 96, "o": 8}, {"h.weight": (0, 64)}),
    ),
    "a convolution that makes its kernel": (
        nn.Sequential(Dynamic(), nn.Conv2d(4, 2, 1)),
        IMAGES, ({"0.attention": 4, "1": 8 * 36}, {"0.weight": (36, 36 * 36)}),
    ),
    "a weight in integers": (Stored(), FLAT, ({"o": 8}, {"w": (64, 64), "scale": (4, 0)})),
    "experts of one tensor": (
        Net(
            lambda m, x: torch.einsum("noi,ni->no", m.w[m.g(x).argmax(1)], x),
            g=nn.Linear(16, 3), w=parameter(3, 4, 16),
        ), FLAT, ({"g": 48}, {"w": (192, 64)}),
    ),
    "distances": (
        Net(lambda m, x: m.o(torch.cdist(x, m.c)), c=parameter(30, 16), o=nn.Linear(30, 2)),
        FLAT, ({"o": 60}, {"c": (480, 480)}),
    ),
    "an ensemble": (
        Net(
            lambda m, x: m.o(torch.func.vmap(lambda w: F.linear(x, w))(m.w).mean(0)),
            w=parameter(3, 4, 16), o=nn.Linear(4, 2),
        ), FLAT, ({"o": 8}, {"w": (192, 192)}),
    ),
    "attention": (
        Net(
            lambda m, x: (m.q(x) * m.g @ (m.k(x) * m.g).mT + m.b).softmax(-1) @ m.v(x),
            q=nn.Linear(16, 16), k=nn.Linear(16, 16), v=nn.Linear(16, 16),
            g=parameter(16), b=parameter(1, 5, 5),
        ), TOKENS, (dict.fromkeys("qkv", 1280), {}),
    ),
    "attention of one row": (
        Net(
            lambda m, x: (m.q(x) * m.g @ (m.k(x) * m.g).mT + m.b).softmax(-1) @ m.v(x),
            q=nn.Linear(16, 16), k=nn.Linear(16, 16), v=nn.Linear(16, 16),
            g=parameter(16), b=parameter(1, 5, 5),
        ), TOKENS[:1], (dict.fromkeys("qkv", 1280), {}),
    ),
    "learned queries": (
        Net(
            lambda m, x: (m.q(m.z) @ m.k(x).mT).softmax(-1) @ m.v(x),
            q=nn.Linear(16, 16), k=nn.Linear(16, 16), v=nn.Linear(16, 16), z=parameter(1, 3, 16),
        ), TOKENS, ({"q": 384, "k": 1280, "v": 1280}, {}),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_every_product_with_a_parameter_is_counted_once(name: str) -> None:
    net, example, expected = CASES[name]
    assert books(net, example) == expected


def test_a_head_that_is_tied_to_the_table_makes_the_table_one_of_its_bits() -> None:
    net = Net(
        lambda m, x: m.head(m.body(m.e(x))),
        e=nn.Embedding(50, 16), body=nn.Linear(16, 16), head=nn.Linear(16, 50, bias=False),
    )  # fmt: skip
    net.head.weight = net.e.weight  # type: ignore[union-attr]
    ready = prepare(net, IDS)
    assert [layer.name for layer in ready.collection.layers] == ["body", "head"]
    assert ready.collection.macs == (6 * 256, 6 * 800)
    assert not ready.collection.uncovered
    assert not ready.warnings
    menu = parse_bits("4,8")
    # half a byte for each weight, a scale and a zero point per channel; the bias of `body`
    assert size(ready, menu, "weights").cost((0, 0)) == (800 + 256) // 2 + 16 * 4


def test_a_weight_used_again_outside_its_forward_has_its_bits_and_a_float_input() -> None:
    net = Net(lambda m, x: F.linear(m.e(x), m.e.weight.t()), e=nn.Linear(16, 8))
    ready = prepare(net, FLAT)
    assert (ready.collection.macs, ready.collection.outside) == ((128,), (128,))
    assert not ready.collection.uncovered
    assert not ready.warnings
    assert ready.collection.total_macs == 256
    # the network's input has 8 bits, what lies between 32
    assert bops(ready, parse_bits("4,8")).cost((0,)) == 128 * 4 * 8 + 128 * 4 * 32


def test_what_stays_in_float_is_named_with_its_share() -> None:
    """A table: no product is left out. 16,000 of 16,170 parameters are in it."""
    net = Net(lambda m, x: m.o(m.e(x).mean(1)), e=nn.Embedding(1000, 16), o=nn.Linear(16, 10))
    (warning,) = prepare(net, IDS).warnings
    assert warning.code == "W605"
    assert warning.message == (
        "0.0% of the MACs and 98.9% of the parameters lie in products and tables outside the known "
        "layers and stay at 32 bits: 'e.weight'"
    )


def test_norms_and_places_are_no_products() -> None:
    """Of 8 * 16 + 6 * 16 + 32 + 16 * 16 + 16 * 8 parameters, those of a bare matrix."""
    net = Net(
        lambda m, x: m.head(m.n(m.e(x) + m.p) @ m.w),
        e=nn.Embedding(8, 16), p=parameter(6, 16), n=nn.LayerNorm(16), w=parameter(16, 16),
        head=nn.Linear(16, 8, bias=False),
    )  # fmt: skip
    net.head.weight = net.e.weight  # type: ignore[union-attr]
    (warning,) = prepare(net, IDS % 8).warnings
    # 6 * 256 of 6 * (256 + 128) products, 256 of 512 parameters
    assert warning.message.startswith("66.7% of the MACs and 50.0% of the parameters")
    assert warning.message.endswith("at 32 bits: 'w'")


def test_weights_that_a_layer_makes_are_said_to_be_made() -> None:
    net, example, _ = CASES["a matrix that a layer makes of each row"]
    (warning,) = prepare(net, example).warnings
    # 64 of 1024 + 64 + 8 products; the layer's own weight is quantized
    assert warning.message == (
        "5.8% of the MACs and 0.0% of the parameters lie in products and tables outside the known "
        "layers and stay at 32 bits: weights made of 'h.weight'"
    )
