"""Networks as people have them: `NAME()` is a factory, `NAME_data()` its loader of a few rows."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from entries import Wrapped, classes, entry, flat, images, numbers, per_token, plain, tokens
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def mlp() -> nn.Module:
    return plain()


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10),
    )  # fmt: skip


def squeezes() -> nn.Module:
    conv, last = nn.Conv2d(1, 8, 3), nn.Linear(8, 10)
    return Wrapped(
        lambda m, x: m.o(m.c(x).relu().mean((2, 3), keepdim=True).squeeze()), c=conv, o=last
    )


def in_place() -> nn.Module:
    return nn.Sequential(nn.ReLU(inplace=True), *plain())


def in_place_norm() -> nn.Module:
    return Wrapped(lambda m, x: m.net(x.sub_(0.3).div_(0.5)), net=plain())


def grouped() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=4),
        nn.Flatten(),
        nn.Linear(128, 10),
    )


def depthwise() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU6(), nn.Conv2d(8, 8, 3, groups=8), nn.ReLU6(),
        nn.Conv2d(8, 4, 1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


def conv1d() -> nn.Module:
    return nn.Sequential(nn.Conv1d(4, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 6, 10))


def conv3d() -> nn.Module:
    return nn.Sequential(nn.Conv3d(1, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 27, 10))


def transposed() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2),
        nn.ReLU(),
        nn.ConvTranspose2d(4, 3, 3, stride=2, output_padding=1),
    )


def weight_norm() -> nn.Module:
    return nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(16, 16)), nn.ReLU(), nn.Linear(16, 10)
    )


def spectral_norm() -> nn.Module:
    return nn.Sequential(nn.utils.spectral_norm(nn.Linear(16, 16)), nn.ReLU(), nn.Linear(16, 10))


def transformer() -> nn.Module:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    body = nn.TransformerEncoder(layer, 2)
    return Wrapped(lambda m, x: m.o(m.b(x).mean(1)), b=body, o=nn.Linear(16, 10))


def language_model() -> nn.Module:
    net = Wrapped(
        lambda m, ids: m.head(m.body(m.emb(ids), is_causal=False)),
        emb=nn.Embedding(50, 16), body=nn.TransformerEncoderLayer(16, 2, 32, batch_first=True),
        head=nn.Linear(16, 50, bias=False),
    )  # fmt: skip
    net.head.weight = net.emb.weight
    return net


def token_ids() -> nn.Module:
    return Wrapped(
        lambda m, ids: m.o(m.e(ids).mean(1)), e=nn.Embedding(50, 16), o=nn.Linear(16, 10)
    )


def bags() -> nn.Module:
    return Wrapped(lambda m, ids: m.o(m.e(ids)), e=nn.EmbeddingBag(50, 16), o=nn.Linear(16, 10))


def bert() -> nn.Module:
    def forward(m: Any, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        h = m.e(input_ids) * attention_mask[..., None]
        return {"logits": m.o(m.a(h).relu().mean(1)), "hidden": h}

    return Wrapped(forward, e=nn.Embedding(50, 16), a=nn.Linear(16, 16), o=nn.Linear(16, 10))


def tabular() -> nn.Module:
    def forward(m: Any, numbers: Tensor, category: Tensor) -> Any:
        return m.o(m.a(torch.cat([numbers, m.e(category)], 1)).relu())

    return Wrapped(forward, e=nn.Embedding(5, 4), a=nn.Linear(20, 16), o=nn.Linear(16, 10))


def regression() -> nn.Module:
    return nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 1))


def one_output() -> nn.Module:
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 1))


def decoder() -> nn.Module:
    return Wrapped(
        lambda m, ids: m.o(m.a(m.e(ids)).relu()),
        e=nn.Embedding(50, 16), a=nn.Linear(16, 16), o=nn.Linear(16, 50),
    )  # fmt: skip


def segmentation() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 5, 1))


def experts() -> nn.Module:
    def forward(m: Any, x: Tensor) -> Tensor:
        shares = m.r(x).softmax(1)
        chosen, out = shares.argmax(1), torch.zeros_like(x)
        for place, expert in enumerate(m.ex):
            mask = chosen == place
            if mask.any():
                out[mask] = expert(x[mask]) * shares[mask, place : place + 1]
        return m.o(out.relu())

    parts = nn.ModuleList(nn.Linear(16, 16) for _ in range(4))
    return Wrapped(forward, r=nn.Linear(16, 4), ex=parts, o=nn.Linear(16, 10))


def early_exit() -> nn.Module:
    def forward(m: Any, x: Tensor) -> Tensor:
        h = m.a(x).relu()
        return m.early(h) if float(h.mean()) > 0.4 else m.late(m.b(h).relu())

    return Wrapped(
        forward,
        a=nn.Linear(16, 16),
        b=nn.Linear(16, 16),
        early=nn.Linear(16, 10),
        late=nn.Linear(16, 10),
    )


def by_batch_size() -> nn.Module:
    return Wrapped(
        lambda m, x: m.o(m.a(x) if len(x) > 1 else m.b(x)),
        a=nn.Linear(16, 16), b=nn.Linear(16, 16), o=nn.Linear(16, 10),
    )  # fmt: skip


def checkpointed() -> nn.Module:
    return Wrapped(
        lambda m, x: m.o(checkpoint(m.a, m.s(x).relu(), use_reentrant=False)),
        s=nn.Linear(16, 16), a=nn.Linear(16, 16), o=nn.Linear(16, 10),
    )  # fmt: skip


def random_dropout() -> nn.Module:
    return Wrapped(
        lambda m, x: m.o(F.dropout(m.a(x).relu(), 0.5, training=True)),
        a=nn.Linear(16, 16), o=nn.Linear(16, 10),
    )  # fmt: skip


def fx_graph() -> nn.Module:
    return torch.fx.symbolic_trace(plain())


def lstm() -> nn.Module:
    return Wrapped(
        lambda m, x: m.o(m.r(x)[0][:, -1]), r=nn.LSTM(4, 16, batch_first=True), o=nn.Linear(16, 10)
    )


def lazy() -> nn.Module:
    return nn.Sequential(nn.LazyLinear(16), nn.ReLU(), nn.LazyLinear(10))


@dataclass
class Output:
    logits: Tensor


def data_class() -> nn.Module:
    return Wrapped(lambda m, x: Output(m.net(x)), net=plain())


class Answers(dict[str, Any]):
    pass


def dict_subclass() -> nn.Module:
    return Wrapped(lambda m, x: Answers(logits=m.net(x)), net=plain())


def adapter() -> nn.Module:
    class Adapted(nn.Linear):
        def __init__(self) -> None:
            super().__init__(16, 16)
            self.a, self.b = nn.Parameter(torch.randn(2, 16)), nn.Parameter(torch.randn(16, 2))

        def forward(self, input: Tensor) -> Tensor:
            return F.linear(input, self.weight + self.b @ self.a, self.bias)

    return nn.Sequential(Adapted(), nn.ReLU(), nn.Linear(16, 10))


def modulated() -> nn.Module:
    def forward(m: Any, x: Tensor) -> Tensor:
        kernel = m.h(x.mean((0, 2, 3))).reshape(4, 1, 3, 3)
        return m.o(F.conv2d(x, kernel).relu().mean((2, 3)))

    return Wrapped(forward, h=nn.Linear(1, 36), o=nn.Linear(4, 10))


def prints() -> nn.Module:
    def forward(m: Any, x: Tensor) -> Tensor:
        print("forward of", len(x))
        return m.net(x)

    return Wrapped(forward, net=plain())


def double() -> nn.Module:
    return plain().double()


def half() -> nn.Module:
    return plain().bfloat16()


def zero_last() -> nn.Module:
    net = plain()
    nn.init.zeros_(net[-1].weight)
    return net


def norm_without_running() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8, track_running_stats=False), nn.ReLU(), nn.Flatten(),
        nn.Linear(288, 10),
    )  # fmt: skip


def norm_with_activation() -> nn.Module:
    class NormAct(nn.BatchNorm2d):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input).relu()

    return nn.Sequential(nn.Conv2d(1, 8, 3), NormAct(8), nn.Flatten(), nn.Linear(288, 10))


def bytes_in() -> nn.Module:
    return Wrapped(
        lambda m, x: m.net(x.float().div(255).flatten(1)), net=nn.Sequential(nn.Linear(64, 10))
    )


def no_gradient() -> nn.Module:
    return Wrapped(torch.no_grad()(lambda m, x: m.net(x)), net=plain())


def reentrant() -> nn.Module:
    return Wrapped(
        lambda m, x: m.o(checkpoint(m.a, m.s(x).relu(), use_reentrant=True)),
        s=nn.Linear(16, 16), a=nn.Linear(16, 16), o=nn.Linear(16, 10),
    )  # fmt: skip


def scripted() -> nn.Module:
    return torch.jit.script(plain())


def traced() -> nn.Module:
    return torch.jit.trace(plain(), torch.zeros(1, 16))


def leaves() -> nn.Module:
    return Wrapped(lambda m, x: sys.exit(0), net=plain())


def not_finite() -> nn.Module:
    net = plain()
    nn.init.constant_(net[0].weight, float("nan"))
    return net


def nothing_to_quantize() -> nn.Module:
    return nn.Sequential(nn.ReLU(), nn.LayerNorm(16))


for one in (
    mlp, in_place, in_place_norm, weight_norm, spectral_norm, experts, early_exit, by_batch_size,
    checkpointed, random_dropout, fx_graph, lazy, data_class, dict_subclass, adapter, prints,
):  # fmt: skip
    entry(one, flat, classes)
for one in (
    cnn, squeezes, grouped, depthwise, modulated, norm_without_running, norm_with_activation
):  # fmt: skip
    entry(one, images, classes)
for one in (token_ids, bags):
    entry(one, tokens, classes)
for one in (decoder, language_model):
    entry(one, tokens, per_token)
entry(conv1d, lambda n: torch.randn(n, 4, 8), classes)
entry(conv3d, lambda n: torch.randn(n, 1, 4, 4, 4), classes)
entry(transposed, images, lambda n: torch.randint(0, 3, (n, 8, 8)))
entry(segmentation, images, lambda n: torch.randint(0, 5, (n, 8, 8)))
entry(transformer, lambda n: torch.randn(n, 5, 16), classes)
entry(lstm, lambda n: torch.randn(n, 5, 4), classes)
entry(
    bert,
    lambda n: {"input_ids": tokens(n), "attention_mask": torch.ones(n, 6, dtype=torch.long)},
    classes,
)
entry(tabular, lambda n: {"numbers": flat(n), "category": torch.randint(0, 5, (n,))}, classes)
entry(regression, flat, numbers)
entry(one_output, flat, None, "--loss", "self")
entry(double, lambda n: flat(n).double(), classes)
entry(half, lambda n: flat(n).bfloat16(), classes)
entry(bytes_in, lambda n: torch.randint(0, 256, (n, 1, 8, 8), dtype=torch.uint8), classes)
for one in (
    no_gradient,
    reentrant,
    scripted,
    traced,
    leaves,
    not_finite,
    nothing_to_quantize,
    zero_last,
):
    entry(one, flat, classes, runs=False)
