"""Networks as libraries and papers build them: their blocks, wrappers and ways to keep weights."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from entries import Wrapped, classes, entry, flat, images, per_token, plain, tokens
from torch import Tensor, nn


def colours(rows: int) -> Tensor:
    return torch.randn(rows, 3, 16, 16)


def _pooled(*body: nn.Module, channels: int = 8) -> nn.Sequential:
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def dense_blocks() -> nn.Module:
    def layer(channels: int) -> nn.Module:
        return nn.Sequential(
            nn.BatchNorm2d(channels), nn.ReLU(inplace=True), nn.Conv2d(channels, 4, 3, padding=1)
        )

    def forward(m: Any, x: Tensor) -> Tensor:
        features = [m.i(x)]
        for each in m.layers:
            features.append(each(torch.cat(features, 1)))
        return m.o(torch.cat(features, 1).relu().mean((2, 3)))

    layers = nn.ModuleList(layer(8 + 4 * depth) for depth in range(3))
    return Wrapped(forward, i=nn.Conv2d(3, 8, 3), layers=layers, o=nn.Linear(20, 10))


def inception() -> nn.Module:
    def forward(m: Any, x: Tensor) -> Any:
        x = torch.cat([x[:, i : i + 1] * (0.2 + i) + 0.1 for i in range(3)], 1)
        h = torch.cat([m.a(x), m.c(m.b(x).relu()), m.d(F.max_pool2d(x, 3, 1, 1))], 1)
        h = h.relu().mean((2, 3))
        return (m.o(h), m.aux(h)) if m.training else m.o(F.dropout(h, 0.5, m.training))

    return Wrapped(
        forward, a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(3, 4, 1), c=nn.Conv2d(4, 6, 3, padding=1),
        d=nn.Conv2d(3, 4, 1), aux=nn.Linear(14, 10), o=nn.Linear(14, 10),
    )  # fmt: skip


def squeeze_excite() -> nn.Module:
    def gated(m: Any, x: Tensor) -> Tensor:
        return x * F.hardsigmoid(m.up(m.down(x.mean((2, 3), keepdim=True)).relu()))

    gate = Wrapped(gated, down=nn.Conv2d(8, 2, 1), up=nn.Conv2d(2, 8, 1))
    return _pooled(
        nn.Conv2d(3, 8, 3, 2, bias=False), nn.BatchNorm2d(8), nn.Hardswish(inplace=True), gate,
        nn.Conv2d(8, 8, 5, padding=2, groups=8, bias=False), nn.BatchNorm2d(8), nn.Hardswish(),
    )  # fmt: skip


def convnext() -> nn.Module:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.depthwise, self.norm = nn.Conv2d(8, 8, 7, padding=3, groups=8), nn.LayerNorm(8)
            self.up, self.down = nn.Linear(8, 32), nn.Linear(32, 8)
            self.gamma = nn.Parameter(torch.full((8,), 0.5))

        def forward(self, x: Tensor) -> Tensor:
            h = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
            h = self.gamma * self.down(F.gelu(self.up(h)))
            return x + h.permute(0, 3, 1, 2)

    return _pooled(nn.Conv2d(3, 8, 4, 4), Block(), Block())


def mlp_mixer() -> nn.Module:
    def mixed(m: Any, x: Tensor) -> Tensor:
        x = x + m.tokens(m.n(x).transpose(1, 2)).transpose(1, 2)
        return x + m.channels(m.n(x))

    block = Wrapped(
        mixed, n=nn.LayerNorm(8), tokens=nn.Sequential(nn.Linear(16, 32), nn.GELU(),
        nn.Linear(32, 16)), channels=nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)),
    )  # fmt: skip
    return Wrapped(
        lambda m, x: m.o(m.b(m.p(x).flatten(2).transpose(1, 2)).mean(1)),
        p=nn.Conv2d(3, 8, 4, 4), b=block, o=nn.Linear(8, 10),
    )  # fmt: skip


def shifted_windows() -> nn.Module:
    def attended(m: Any, x: Tensor) -> Tensor:
        windows = torch.roll(x, (-1, -1), (1, 2)).view(len(x), 2, 2, 2, 2, 8)
        windows = windows.transpose(2, 3).reshape(-1, 4, 8)
        q, k, v = m.qkv(windows).chunk(3, -1)
        h = m.proj((q @ k.transpose(1, 2)).softmax(-1) @ v)
        h = h.view(len(x), 2, 2, 2, 2, 8).transpose(2, 3).reshape(x.shape)
        return x + torch.roll(h, (1, 1), (1, 2))

    block = Wrapped(attended, qkv=nn.Linear(8, 24), proj=nn.Linear(8, 8))
    return Wrapped(
        lambda m, x: m.o(m.b(m.p(x).permute(0, 2, 3, 1)).mean((1, 2))),
        p=nn.Conv2d(3, 8, 4, 4), b=block, o=nn.Linear(8, 10),
    )  # fmt: skip


def learned_slopes() -> nn.Module:
    return _pooled(
        nn.Conv2d(3, 8, 3), nn.PReLU(8), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.PReLU()
    )


def several_branches() -> nn.Module:
    def added(m: Any, x: Tensor) -> Tensor:
        return (m.three(x) + m.one(x) + m.same(x)).relu()

    def block() -> nn.Module:
        return Wrapped(
            added, three=nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)),
            one=nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)), same=nn.BatchNorm2d(8),
        )  # fmt: skip

    return _pooled(nn.Conv2d(3, 8, 3), block(), block())


def bounded_kernels() -> nn.Module:
    class Bounded(nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:
            self.weight.data = torch.renorm(self.weight.data, p=2, dim=0, maxnorm=0.3)
            return super().forward(input)

    return _pooled(nn.Conv2d(3, 8, 3), nn.ELU(), Bounded(8, 8, 3), nn.BatchNorm2d(8), nn.ELU())


def unfolded() -> nn.Module:
    def forward(m: Any, x: Tensor) -> Tensor:
        return m.o((m.w.weight.view(8, 27) @ F.unfold(x, 3, padding=1)).relu().mean(-1))

    return Wrapped(forward, w=nn.Linear(27, 8, bias=False), o=nn.Linear(8, 10))


def averaged_copy() -> nn.Module:
    net = plain()
    return Wrapped(
        lambda m, x: m.net(x) if m.training else m.average(x),
        net=net, average=copy.deepcopy(net).requires_grad_(False),
    )  # fmt: skip


def teacher_and_student() -> nn.Module:
    def forward(m: Any, x: Tensor) -> Any:
        return (m.student(x), m.teacher(x)) if m.training else m.student(x)

    return Wrapped(forward, teacher=plain().requires_grad_(False), student=plain())


def heads_by_name() -> nn.Module:
    def forward(m: Any, x: Tensor, task: str = "a", features: bool = False) -> Any:
        h = m.body(x).relu()
        return (m.heads[task](h), h) if features else m.heads[task](h)

    heads = nn.ModuleDict({"a": nn.Linear(16, 10), "b": nn.Linear(16, 4)})
    return Wrapped(forward, body=nn.Linear(16, 16), heads=heads)


def complex_parameters() -> nn.Module:
    class Spectrum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.randn(9, 8, dtype=torch.cfloat) / 3)

        def forward(self, x: Tensor) -> Tensor:
            return (torch.fft.rfft(x) @ self.w).abs()

    return nn.Sequential(nn.Linear(16, 16), Spectrum(), nn.Linear(8, 10))


def equalized() -> nn.Module:
    class Equalized(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return F.linear(input, self.weight * self.in_features**-0.5, self.bias)

    net = nn.Sequential(Equalized(16, 32), nn.LeakyReLU(0.2), Equalized(32, 10))
    nn.init.normal_(net[0].weight)
    return net


def made_for_each_call() -> nn.Module:
    """A functional call: while it runs, the parameters are other tensors."""

    def forward(m: Any, x: Tensor) -> Any:
        halves = {name: value / 2 for name, value in m.net.named_parameters()}
        return torch.func.functional_call(m.net, halves, (x,))

    return Wrapped(forward, net=plain())


def ensemble() -> nn.Module:
    class Ensemble(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            stacked, _ = torch.func.stack_module_state([plain() for _ in range(3)])
            self.each = nn.ParameterDict({k.replace(".", "_"): v for k, v in stacked.items()})
            self.__dict__["base"], self.o = plain().to("meta"), nn.Linear(10, 10)

        def forward(self, x: Tensor) -> Any:
            def one(weights: Any, x: Tensor) -> Any:
                named = {name.replace("_", "."): value for name, value in weights.items()}
                return torch.func.functional_call(self.base, named, (x,))

            return self.o(torch.vmap(one, (0, None))(dict(self.each), x).mean(0))

    return Ensemble()


def fixed_point() -> nn.Module:
    def forward(m: Any, x: Tensor) -> Tensor:
        z = torch.zeros_like(x)
        for _ in range(50):
            last, z = z, torch.tanh(m.w(z) * 0.3 + m.u(x))
            if (z - last).norm() < 1e-3:
                break
        return m.o(z)

    return Wrapped(forward, w=nn.Linear(16, 16), u=nn.Linear(16, 16), o=nn.Linear(16, 10))


def polynomials() -> nn.Module:
    class Polynomials(nn.Module):
        def __init__(self, outputs: int) -> None:
            super().__init__()
            self.base = nn.Linear(16, outputs)
            self.coefficients = nn.Parameter(torch.randn(16, outputs, 4) / 9)

        def forward(self, x: Tensor) -> Tensor:
            powers = torch.stack([torch.tanh(x) ** k for k in range(4)], -1)
            return self.base(x) + torch.einsum("nik,iok->no", powers, self.coefficients)

    return nn.Sequential(Polynomials(16), Polynomials(10))


def codebook() -> nn.Module:
    def forward(m: Any, x: Tensor) -> Any:
        z = m.a(x)
        nearest = torch.cdist(z, m.codes.weight).argmin(1)
        return m.o(z + (m.codes(nearest) - z).detach()), nearest

    return Wrapped(forward, a=nn.Linear(16, 8), codes=nn.Embedding(12, 8), o=nn.Linear(8, 10))


def unpooled() -> nn.Module:
    def forward(m: Any, x: Tensor) -> Tensor:
        h, places = F.max_pool2d(m.a(x).relu(), 2, return_indices=True)
        return m.o(F.max_unpool2d(m.b(h).relu(), places, 2))

    return Wrapped(
        forward, a=nn.Conv2d(1, 4, 3, padding=1), b=nn.Conv2d(4, 4, 3, padding=1),
        o=nn.Conv2d(4, 5, 1),
    )  # fmt: skip


def super_resolution() -> nn.Module:
    def forward(m: Any, x: Tensor) -> Tensor:
        wide = F.interpolate(x, scale_factor=2, mode="bilinear")
        return F.pixel_shuffle(m.b(m.a(x).relu()), 2) + wide

    return Wrapped(
        forward, a=nn.Conv2d(1, 8, 3, padding=1), b=nn.Conv2d(8, 4, 3, padding=1)
    )  # fmt: skip


def padded_encoder() -> nn.Module:
    """In eval mode it takes torch's own fused way, with nested tensors where rows are padded."""

    def forward(m: Any, ids: Tensor) -> Tensor:
        padding = ids < 10
        padding[:, 0] = False
        h = m.t(m.e(ids), src_key_padding_mask=padding)
        kept = (~padding).float()[:, : h.shape[1], None]
        return m.o((h * kept).sum(1) / kept.sum(1))

    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    return Wrapped(
        forward, e=nn.Embedding(50, 16, padding_idx=0), t=nn.TransformerEncoder(layer, 2),
        o=nn.Linear(16, 10),
    )  # fmt: skip


def gated_decoder() -> nn.Module:
    def forward(m: Any, input_ids: Tensor, use_cache: bool = False, **rest: Any) -> Any:
        h = m.e(input_ids)
        q, k, v = m.q(h).view(*h.shape[:2], 2, 8), m.k(h)[:, :, None], m.v(h)[:, :, None]
        rows = [part.transpose(1, 2) for part in (q, k.expand_as(q), v.expand_as(q))]
        mixed = F.scaled_dot_product_attention(*rows, is_causal=True).transpose(1, 2)
        h = h + m.p(mixed.flatten(2))
        return {"logits": m.o(h + m.down(F.silu(m.gate(h)) * m.up(h))), "past": None}

    parts = {name: nn.Linear(16, 32, bias=False) for name in ("gate", "up")}
    parts |= {name: nn.Linear(16, 8, bias=False) for name in ("k", "v")}
    parts |= {name: nn.Linear(16, 16, bias=False) for name in ("q", "p")}
    net = Wrapped(
        forward, e=nn.Embedding(50, 16), **parts, down=nn.Linear(32, 16, bias=False),
        o=nn.Linear(16, 50, bias=False),
    )  # fmt: skip
    net.o.weight = net.e.weight  # type: ignore[assignment, union-attr]
    return net


class ByAttribute(dict[str, Any]):
    """As many write it: a name that it lacks is None."""

    __getattr__ = dict.get


def attribute_dict() -> nn.Module:
    def forward(m: Any, pixel_values: Tensor, labels: Any = None, **rest: Any) -> Any:
        scores = m.net(pixel_values)
        loss = None if labels is None else F.cross_entropy(scores, labels)
        return ByAttribute(loss=loss, logits=scores)

    return Wrapped(forward, net=_pooled(nn.Conv2d(3, 8, 3, 2), nn.ReLU()))


for one in (
    dense_blocks, inception, squeeze_excite, convnext, mlp_mixer, shifted_windows, learned_slopes,
    several_branches, bounded_kernels, unfolded,
):  # fmt: skip
    entry(one, colours, classes)
for one in (
    averaged_copy, teacher_and_student, heads_by_name, complex_parameters, equalized,
    made_for_each_call, ensemble, fixed_point, polynomials, codebook,
):  # fmt: skip
    entry(one, flat, classes)
entry(unpooled, images, lambda n: torch.randint(0, 5, (n, 8, 8)))
entry(super_resolution, images, lambda n: torch.randn(n, 1, 16, 16))
entry(padded_encoder, tokens, classes)
entry(gated_decoder, lambda n: {"input_ids": tokens(n)}, per_token)
entry(attribute_dict, lambda n: {"pixel_values": colours(n)}, classes)
