"""Networks whose layers, weights or code are made in unusual ways."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from entries import Wrapped, classes, entry, flat, images, per_token, plain, tokens
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune


def top_two() -> nn.Module:
    def forward(m: Any, x: Tensor) -> Tensor:
        shares, chosen = m.r(x).softmax(1).topk(2, 1)
        out = torch.zeros_like(x)
        for place, expert in enumerate(m.ex):
            rows, which = (chosen == place).nonzero(as_tuple=True)
            if len(rows):
                out = out.index_add(0, rows, expert(x[rows]) * shares[rows, which, None])
        return m.o(out.relu())

    experts = nn.ModuleList(nn.Linear(16, 16) for _ in range(6))
    return Wrapped(forward, r=nn.Linear(16, 6), ex=experts, o=nn.Linear(16, 10))


def empty_experts() -> nn.Module:
    def forward(m: Any, x: Tensor) -> Tensor:
        shares = m.r(x).softmax(1)
        chosen, out = shares.argmax(1), torch.zeros_like(x)
        for place, expert in enumerate(m.ex):  # called with 0 rows too
            out[chosen == place] = expert(x[chosen == place]) * shares[chosen == place, :1]
        return m.o(out.relu())

    experts = nn.ModuleList(nn.Linear(16, 16) for _ in range(4))
    return Wrapped(forward, r=nn.Linear(16, 4), ex=experts, o=nn.Linear(16, 10))


def stacked_experts() -> nn.Module:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.r, self.o = nn.Linear(16, 4), nn.Linear(16, 10)
            self.w = nn.Parameter(torch.randn(4, 16, 16) / 4)

        def forward(self, x: Tensor) -> Tensor:
            shares = self.r(x).softmax(1)
            return self.o((torch.einsum("ni,eij->nej", x, self.w) * shares[..., None]).sum(1))

    return Net()


def adaptive_depth() -> nn.Module:
    def forward(m: Any, x: Tensor) -> Tensor:
        for layer in m.blocks:
            x = x + layer(x).relu()
            if float(x.abs().mean()) > 1.2:
                break
        return m.o(x)

    blocks = nn.ModuleList(nn.Linear(16, 16) for _ in range(4))
    return Wrapped(forward, blocks=blocks, o=nn.Linear(16, 10))


def hypernetwork() -> nn.Module:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.z, self.h = nn.Parameter(torch.randn(1, 8)), nn.Linear(8, 256)
            self.o = nn.Linear(16, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.o(F.linear(x, self.h(self.z).view(16, 16)).relu())

    return Net()


def conditional_kernels() -> nn.Module:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.r, self.o = nn.Linear(1, 3), nn.Linear(4, 10)
            self.k = nn.Parameter(torch.randn(3, 4, 1, 3, 3))

        def forward(self, x: Tensor) -> Tensor:
            shares = self.r(x.mean((2, 3))).sigmoid()
            kernels = torch.einsum("ne,eoikl->noikl", shares, self.k).flatten(0, 1)
            out = F.conv2d(x.transpose(0, 1), kernels, groups=len(x))
            return self.o(out.view(len(x), 4, 6, 6).relu().mean((2, 3)))

    return Net()


def tied_decoder() -> nn.Module:
    return Wrapped(
        lambda m, ids: F.linear(m.a(m.e(ids)).relu(), m.e.weight),
        e=nn.Embedding(50, 16), a=nn.Linear(16, 16),
    )  # fmt: skip


class Conv1D(nn.Module):
    """As `transformers` has it: a linear layer of which the weight is transposed."""

    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.nf, self.nx = nf, nx
        self.weight, self.bias = (
            nn.Parameter(torch.randn(nx, nf) / 4),
            nn.Parameter(torch.zeros(nf)),
        )

    def forward(self, x: Tensor) -> Tensor:
        out = torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight)
        return out.view(*x.shape[:-1], self.nf)


def gpt() -> nn.Module:
    def forward(m: Any, input_ids: Tensor) -> dict[str, Tensor]:
        h = m.e(input_ids) + m.p(torch.arange(input_ids.shape[1]))
        q, k, v = m.c(m.n(h)).split(16, 2)
        h = h + m.b(F.scaled_dot_product_attention(q, k, v, is_causal=True))
        return {"logits": m.head(h)}

    net = Wrapped(
        forward, e=nn.Embedding(50, 16), p=nn.Embedding(6, 16), n=nn.LayerNorm(16),
        c=Conv1D(48, 16), b=Conv1D(16, 16), head=nn.Linear(16, 50, bias=False),
    )  # fmt: skip
    net.head.weight = net.e.weight
    return net


def gru() -> nn.Module:
    return Wrapped(
        lambda m, x: m.o(m.r(x)[1][-1]), r=nn.GRU(4, 16, batch_first=True), o=nn.Linear(16, 10)
    )


def lstm_cell() -> nn.Module:
    def forward(m: Any, x: Tensor) -> Tensor:
        state = None
        for step in x.unbind(1):
            state = m.r(step, state)
        return m.o(state[0])

    return Wrapped(forward, r=nn.LSTMCell(4, 16), o=nn.Linear(16, 10))


def reused() -> nn.Module:
    def forward(m: Any, x: Tensor) -> Tensor:
        for _ in range(3):
            x = m.a(x).relu()
        return m.o(x)

    return Wrapped(forward, a=nn.Linear(16, 16), o=nn.Linear(16, 10))


def sliced() -> nn.Module:
    return Wrapped(
        lambda m, x: m.o(F.linear(x, m.a.weight[:8], m.a.bias[:8]).relu()),
        a=nn.Linear(16, 16), o=nn.Linear(8, 10),
    )  # fmt: skip


def bilinear() -> nn.Module:
    return Wrapped(lambda m, x: m.o(m.b(x, x)), b=nn.Bilinear(16, 16, 8), o=nn.Linear(8, 10))


def attention() -> nn.Module:
    return Wrapped(
        lambda m, x: m.o(m.a(x, x, x, need_weights=False)[0].mean(1)),
        a=nn.MultiheadAttention(16, 2, batch_first=True), o=nn.Linear(16, 10),
    )  # fmt: skip


def norms() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.GroupNorm(2, 8), nn.PReLU(), nn.InstanceNorm2d(8, affine=True),
        nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.SiLU(), nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip


def transposed3d() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(1, 4, 2), nn.ReLU(), nn.ConvTranspose3d(4, 2, 2, groups=2), nn.Flatten(),
        nn.Linear(128, 10),
    )  # fmt: skip


def complex_valued() -> nn.Module:
    return Wrapped(
        lambda m, x: m.o(m.c(x.to(torch.complex64)).abs()),
        c=nn.Linear(16, 16, dtype=torch.complex64), o=nn.Linear(16, 10),
    )  # fmt: skip


def fourier() -> nn.Module:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.randn(9, 9, dtype=torch.complex64))
            self.a, self.o = nn.Linear(16, 16), nn.Linear(16, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.o(self.a(x) + torch.fft.irfft(torch.fft.rfft(x) @ self.w, n=16))

    return Net()


def half_precision() -> nn.Module:
    return plain().half()


def autocast() -> nn.Module:
    def forward(m: Any, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return m.net(x)

    return Wrapped(forward, net=plain())


def data_parallel() -> nn.Module:
    return nn.DataParallel(plain())


def compiled() -> nn.Module:
    return torch.compile(plain())  # type: ignore[return-value]


def script_inside() -> nn.Module:
    return nn.Sequential(torch.jit.script(nn.Linear(16, 16)), nn.ReLU(), nn.Linear(16, 10))


def pruned() -> nn.Module:
    net = plain()
    prune.l1_unstructured(net[0], "weight", 0.5)
    return net


def old_weight_norm() -> nn.Module:
    return nn.Sequential(nn.utils.weight_norm(nn.Linear(16, 16)), nn.ReLU(), nn.Linear(16, 10))


def orthogonal() -> nn.Module:
    return nn.Sequential(parametrizations.orthogonal(nn.Linear(16, 16)), *plain())


def frozen() -> nn.Module:
    return plain().requires_grad_(False)


def hooked() -> nn.Module:
    net = plain()
    net[0].register_forward_hook(lambda module, args, out: out * 2)
    net[2].register_forward_pre_hook(lambda module, args: (args[0] - 1,))
    return net


def counts() -> nn.Module:
    def forward(m: Any, x: Tensor) -> Tensor:
        m.seen += 1
        return m.net(x)

    net = Wrapped(forward, net=plain())
    net.register_buffer("seen", torch.zeros(1))
    return net


def learns() -> nn.Module:
    def forward(m: Any, x: Tensor) -> Tensor:
        m.mean.mul_(0.9).add_(x.detach().mean(0), alpha=0.1)
        return m.net(x - m.mean)

    net = Wrapped(forward, net=plain())
    net.register_buffer("mean", torch.zeros(16))
    return net


def draws() -> nn.Module:
    return Wrapped(lambda m, x: m.net(x + 0.1 * torch.randn_like(x)), net=plain())


def odd_names() -> nn.Module:
    net = nn.Module()
    names = ("a=b,c", "été", "*", "layer one")
    for name in names:
        net.add_module(name, nn.Linear(16, 16))
    net.add_module("o", nn.Linear(16, 10))
    whole = Wrapped(
        lambda m, x: m.n.o(sum(m.n.get_submodule(name)(x) for name in names).relu()), n=net
    )
    return whole


def one_layer() -> nn.Module:
    return nn.Linear(16, 10)


def wide_and_dead() -> nn.Module:
    net = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 10))
    nn.init.constant_(net[0].bias, -100.0)
    return net


def huge_and_tiny() -> nn.Module:
    net = plain()
    net[0].weight.data *= 1e-20
    net[2].weight.data *= 1e20
    return net


def detached() -> nn.Module:
    return Wrapped(
        lambda m, x: m.o(m.a(x).detach().relu()), a=nn.Linear(16, 16), o=nn.Linear(16, 10)
    )


def inference_mode() -> nn.Module:
    return Wrapped(torch.inference_mode()(lambda m, x: m.net(x)), net=plain())


def parameters_only() -> nn.Module:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.randn(16, 10))

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.w

    return Net()


def dynamic_int8() -> nn.Module:
    return torch.ao.quantization.quantize_dynamic(plain(), {nn.Linear})


def raises() -> nn.Module:
    def forward(m: Any, x: Tensor) -> Tensor:
        raise RuntimeError("\x1b[31mno\x1b[0m\nsecond line")

    return Wrapped(forward, net=plain())


def cannot_be_copied() -> nn.Module:
    net = plain()
    net.stream = (number for number in range(3))  # type: ignore[assignment]
    return net


for one in (
    top_two, empty_experts, stacked_experts, adaptive_depth, hypernetwork, reused, sliced, bilinear,
    fourier, autocast, data_parallel, compiled, pruned, old_weight_norm, orthogonal, frozen, hooked,
    counts, learns, script_inside, draws, odd_names, one_layer, complex_valued,
):  # fmt: skip
    entry(one, flat, classes)
for one in (conditional_kernels, norms):
    entry(one, images, classes)
for one in (gru, lstm_cell):
    entry(one, lambda n: torch.randn(n, 5, 4), classes)
for one in (tied_decoder, gpt):
    entry(one, tokens, per_token)
entry(attention, lambda n: torch.randn(n, 5, 16), classes)
entry(transposed3d, lambda n: torch.randn(n, 1, 4, 4, 4), classes)
entry(half_precision, lambda n: flat(n).half(), classes)
for one in (
    huge_and_tiny, wide_and_dead, detached, inference_mode, parameters_only, dynamic_int8, raises,
    cannot_be_copied,
):  # fmt: skip
    entry(one, flat, classes, runs=False)
