"""Networks of parts that are put together, shared, frozen, quantized or fed in unusual ways."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from entries import Wrapped, classes, entry, flat, images, per_token, plain, tokens
from torch import Tensor, nn
from torch.nn.utils import parametrizations


def audio() -> nn.Module:
    return Wrapped(
        lambda m, x: m.o(m.b(m.a(x[:, None]).relu()).relu().mean(-1)),
        a=nn.Conv1d(1, 8, 9, stride=4), b=nn.Conv1d(8, 8, 3, dilation=2, groups=2),
        o=nn.Linear(8, 10),
    )  # fmt: skip


def dilated_stack() -> nn.Module:
    def forward(m: Any, x: Tensor) -> Tensor:
        h, skip = m.i(x[:, None]), torch.zeros(())
        for depth, (gate, value) in enumerate(zip(m.g, m.f, strict=True)):
            padded = F.pad(h, (2**depth, 0))
            z = gate(padded).sigmoid() * value(padded).tanh()
            h, skip = h + z, skip + z
        return m.o(skip.relu())

    def stack() -> nn.ModuleList:
        return nn.ModuleList(nn.Conv1d(4, 4, 2, dilation=2**depth) for depth in range(3))

    return Wrapped(forward, i=nn.Conv1d(1, 4, 1), g=stack(), f=stack(), o=nn.Conv1d(4, 6, 1))


def u_net() -> nn.Module:
    def forward(m: Any, x: Tensor) -> Tensor:
        a = m.e1(x).relu()
        b = m.e2(F.max_pool2d(a, 2)).relu()
        c = m.e3(F.max_pool2d(b, 2)).relu()
        u = m.d1(torch.cat([m.u1(c), b], 1)).relu()
        return m.o(m.d2(torch.cat([m.u2(u), a], 1)).relu())

    def conv(inputs: int, outputs: int) -> nn.Module:
        return nn.Conv2d(inputs, outputs, 3, padding=1)

    return Wrapped(
        forward, e1=conv(1, 4), e2=conv(4, 8), e3=conv(8, 16),
        u1=nn.ConvTranspose2d(16, 8, 2, stride=2), d1=conv(16, 8),
        u2=nn.ConvTranspose2d(8, 4, 2, stride=2), d2=conv(8, 4), o=nn.Conv2d(4, 5, 1),
    )  # fmt: skip


def translator() -> nn.Module:
    def forward(m: Any, source: Tensor, target: Tensor) -> Tensor:
        state = m.encoder(m.e(source))[1]
        return m.o(m.decoder(m.e(target), state)[0])

    return Wrapped(
        forward, e=nn.Embedding(50, 8), encoder=nn.GRU(8, 8, batch_first=True),
        decoder=nn.GRU(8, 8, batch_first=True), o=nn.Linear(8, 50),
    )  # fmt: skip


def time_first() -> nn.Module:
    return Wrapped(lambda m, x: m.o(m.r(x.transpose(0, 1))[0]), r=nn.LSTM(4, 8), o=nn.Linear(8, 5))


def two_branches() -> nn.Module:
    return Wrapped(
        lambda m, a, b: m.o(torch.cat([m.net(a), m.net(b)], 1)), net=plain(), o=nn.Linear(20, 10)
    )


def triplet() -> nn.Module:
    return Wrapped(lambda m, a, b, c: (m.net(a), m.net(b), m.net(c)), net=plain())


def complex_in() -> nn.Module:
    return Wrapped(lambda m, x: m.o(torch.cat([x.real, x.imag], 1)), o=nn.Linear(32, 10))


def computed_kernels() -> nn.Module:
    return nn.Sequential(
        parametrizations.spectral_norm(nn.Conv2d(1, 4, 3)), nn.ReLU(),
        parametrizations.weight_norm(nn.Conv2d(4, 4, 3)), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


def standardized() -> nn.Module:
    class Standardized(nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:
            spread, mean = torch.std_mean(self.weight, (1, 2, 3), keepdim=True)
            return F.conv2d(input, (self.weight - mean) / (spread + 1e-5), self.bias)

    return nn.Sequential(Standardized(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))


def scripted_part() -> nn.Module:
    part = torch.jit.script(nn.Sequential(nn.Linear(16, 16), nn.ReLU()))
    return Wrapped(lambda m, x: m.o(m.s(x)), s=part, o=nn.Linear(16, 10))


def _normed() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10)
    )


def parallel() -> nn.Module:
    return nn.DataParallel(_normed())


def train_mode() -> nn.Module:
    return _normed().train()


def partly_frozen() -> nn.Module:
    net = plain()
    net[0].requires_grad_(False)
    return net


def transposed_tie() -> nn.Module:
    return Wrapped(
        lambda m, x: m.o(F.linear(m.m(m.e(x).relu()).relu(), m.e.weight.T)),
        e=nn.Linear(16, 8), m=nn.Linear(8, 8), o=nn.Linear(16, 10),
    )  # fmt: skip


def stays_in_train() -> nn.Module:
    class Net(nn.Sequential):
        def train(self, mode: bool = True) -> Any:
            return super().train()

    return Net(nn.Linear(16, 16), nn.Dropout(0.5), nn.Linear(16, 10))


def channels_last() -> nn.Module:
    return _normed().to(memory_format=torch.channels_last)


def strided_weights() -> nn.Module:
    net = plain()
    net[0].weight = nn.Parameter(torch.randn(16, 16).T / 4)
    net[2].weight = nn.Parameter((torch.randn(16, 20) / 4)[:, ::2].T)
    return net


def expanded_weight() -> nn.Module:
    net = plain()
    net[0].weight = nn.Parameter(torch.randn(1, 16).expand(16, 16))
    return net


def overlapping_weights() -> nn.Module:
    memory, net = torch.randn(16, 16) / 4, plain()
    net[0].weight, net[2].weight = nn.Parameter(memory), nn.Parameter(memory[:10])
    return net


def huge_scores() -> nn.Module:
    net = plain()
    net[2].weight.data *= 1e6
    return net


def negative_norm() -> nn.Module:
    net = _normed()
    net[1].weight.data = torch.linspace(-1, 1, 8)  # one channel of almost nothing
    net[1].running_mean.normal_()
    net[1].running_var.uniform_(0, 3)
    return net


def norm_without_spread() -> nn.Module:
    net = _normed()
    net[1].running_var.zero_()
    return net


def norms_around_transposed() -> nn.Module:
    return nn.Sequential(
        nn.BatchNorm2d(1), nn.ConvTranspose2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(),
        nn.ConvTranspose2d(8, 8, 3, groups=4), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(1152, 10),
    )  # fmt: skip


def one_norm_for_two() -> nn.Module:
    return Wrapped(
        lambda m, x: m.o((m.n(m.a(x)) + m.n(m.b(x))).relu().flatten(1)),
        a=nn.Conv2d(1, 8, 3), b=nn.Conv2d(1, 8, 3), n=nn.BatchNorm2d(8), o=nn.Linear(288, 10),
    )  # fmt: skip


def log_shares() -> nn.Module:
    return nn.Sequential(*plain(), nn.LogSoftmax(1))


def two_precisions() -> nn.Module:
    net = plain()
    return Wrapped(
        lambda m, x: m.net[2](m.net[0](x.double()).relu().float()),
        net=nn.Sequential(net[0].double(), net[1], net[2]),
    )


def renormalised_table() -> nn.Module:
    table = nn.Embedding(50, 16, max_norm=1.0, sparse=True)
    return Wrapped(lambda m, ids: m.o(m.e(ids).mean(1)), e=table, o=nn.Linear(16, 10))


def other_padding() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, padding_mode="reflect"), nn.ReLU(),
        nn.Conv2d(4, 4, 3, padding="same", padding_mode="circular"), nn.Flatten(),
        nn.Linear(256, 10),
    )  # fmt: skip


def low_rank() -> nn.Module:
    def beside(m: Any, x: Tensor) -> Tensor:
        return m.base(x) + m.up(m.down(x))

    def adapted(outputs: int) -> nn.Module:
        up = nn.Linear(2, outputs, bias=False)
        return Wrapped(beside, base=nn.Linear(16, outputs), down=nn.Linear(16, 2), up=up)

    return nn.Sequential(adapted(16), nn.ReLU(), adapted(10))


def straight_through() -> nn.Module:
    class Sign(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.sign()

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            return gradient

    return Wrapped(lambda m, x: m.o(Sign.apply(m.a(x))), a=nn.Linear(16, 16), o=nn.Linear(16, 10))


def own_gradient() -> nn.Module:
    def forward(m: Any, x: Tensor) -> Tensor:
        with torch.enable_grad():
            place = x.detach().requires_grad_()
            energy = m.e(place).square().sum()
            (force,) = torch.autograd.grad(energy, place, create_graph=True)
        return m.o(force)

    return Wrapped(forward, e=nn.Linear(16, 16), o=nn.Linear(16, 10))


def sparse_rows() -> nn.Module:
    return plain()


def quantized_part() -> nn.Module:
    last = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(16, 10)), {nn.Linear})
    return nn.Sequential(*plain(), nn.ReLU(), nn.Linear(10, 16), last)


def static_int8() -> nn.Module:
    stubs = torch.ao.quantization
    net = nn.Sequential(stubs.QuantStub(), *plain(), stubs.DeQuantStub()).eval()
    net.qconfig = stubs.get_default_qconfig("fbgemm")  # type: ignore[assignment]
    net = stubs.prepare(net)
    net(torch.randn(8, 16))
    return stubs.convert(net)


def complex_out() -> nn.Module:
    return Wrapped(
        lambda m, x: torch.view_as_complex(m.o(x).view(len(x), 5, 2)), o=nn.Linear(16, 10)
    )


def mean_out() -> nn.Module:
    return Wrapped(lambda m, x: m.net(x).mean(), net=plain())


def class_out() -> nn.Module:
    return Wrapped(lambda m, x: m.net(x).argmax(1), net=plain())


def nothing_out() -> nn.Module:
    def forward(m: Any, x: Tensor) -> None:
        m.net(x)

    return Wrapped(forward, net=plain())


def infinite_scores() -> nn.Module:
    net = plain()
    net[2].weight.data *= 1e38
    return net


for one in (
    scripted_part, partly_frozen, transposed_tie, stays_in_train, strided_weights, expanded_weight,
    overlapping_weights, huge_scores, log_shares, two_precisions, low_rank, straight_through,
    own_gradient,
):  # fmt: skip
    entry(one, flat, classes)
for one in (
    computed_kernels, standardized, parallel, train_mode, channels_last, negative_norm,
    norm_without_spread, norms_around_transposed, one_norm_for_two, other_padding,
):  # fmt: skip
    entry(one, images, classes)
entry(audio, lambda n: torch.randn(n, 200), classes)
entry(dilated_stack, lambda n: torch.randn(n, 20), lambda n: torch.randint(0, 6, (n, 20)))
entry(u_net, images, lambda n: torch.randint(0, 5, (n, 8, 8)))
entry(translator, lambda n: (tokens(n), tokens(n)), per_token)
entry(time_first, lambda n: torch.randn(n, 7, 4), lambda n: torch.randint(0, 5, (n, 7)))
entry(two_branches, lambda n: (flat(n), flat(n)), classes)
entry(triplet, lambda n: (flat(n), flat(n), flat(n)), None, "--loss", "self")
entry(complex_in, lambda n: torch.randn(n, 16, dtype=torch.complex64), classes)
entry(renormalised_table, tokens, classes)
entry(sparse_rows, lambda n: flat(n).to_sparse(), classes)
for one in (
    quantized_part, static_int8, complex_out, mean_out, class_out, nothing_out, infinite_scores
):  # fmt: skip
    entry(one, flat, classes, runs=False)
