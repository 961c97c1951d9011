"""Small networks with the features that trip a collector, shared by the tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emqlang.quant.networks.layers import Collection, collect, trace_layers
from emqlang.quant.networks.signature import Forward, Signature


def collection_of(
    net: nn.Module,
    example: Any,
    forward: Forward | None = None,
    tied: Sequence[Sequence[str]] | None = None,
) -> Collection:
    """The layers of a network in eval mode, as one forward of the example uses them."""
    forward = forward or Signature.of(net, example).forward
    return collect(net, [trace_layers(net, example, forward)], tied)


def seeded(network: type[nn.Module], *args: object, seed: int = 0) -> nn.Module:
    """In eval mode, with batch norms as after training: their values are far from 0 and 1."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = network(*args).eval()
        for module in net.modules():
            if (
                isinstance(module, nn.modules.batchnorm._BatchNorm)
                and module.running_var is not None
            ):
                module.running_mean.normal_()  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 2.0)  # type: ignore[operator]
                if module.affine:
                    nn.init.uniform_(module.weight, 0.5, 2.0)
                    nn.init.normal_(module.bias)
        return net


class Chain(nn.Module):
    """Grouped, depthwise and transposed convolutions; every batch norm folds. (N, 4, 8, 8)"""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(4, 8, 3, padding=1, groups=2, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 8, 3, stride=2, groups=8), nn.BatchNorm2d(8, affine=False), nn.ReLU(),
            nn.ConvTranspose2d(8, 6, 3, stride=2, groups=2), nn.BatchNorm2d(6), nn.ReLU(),
            nn.ConvTranspose2d(6, 5, 2, bias=False), nn.BatchNorm2d(5),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip
        self.hidden = nn.Linear(5, 7, bias=False)
        self.norm = nn.BatchNorm1d(7)
        self.head = nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(self.hidden(self.body(x))).relu())
        return logits


class Sequence1d(nn.Module):
    """Conv1d with batch norm, and a linear layer on the last axis of a 3-D tensor. (N, 3, 16)"""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 6, 5, padding=2)
        self.norm = nn.BatchNorm1d(6)
        self.mix = nn.Linear(16, 6)
        # Over axis 1, which is not the linear layer's output axis though as long.
        self.channel_norm = nn.BatchNorm1d(6)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.channel_norm(self.mix(self.norm(self.conv(x)).relu()))
        return y.mean(1)


class PreActivation(nn.Module):
    """A block of norm, ReLU, convolution: norm and shortcut read the stem's output. (N, 3, 8, 8)"""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(6)
        self.conv1 = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(6)  # follows conv1 alone: the one that folds
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.norm3 = nn.BatchNorm2d(6)
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.conv2(self.norm2(self.conv1(self.norm1(x).relu())).relu())
        logits: Tensor = self.fc(self.norm3(x).relu().mean((2, 3)))
        return logits


class Shared(nn.Module):
    """A convolution and a norm used twice, and two modules with one weight. (N, 4, 6, 6)"""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.norm_a = nn.BatchNorm2d(4)
        self.norm_b = nn.BatchNorm2d(4)
        self.left = nn.Conv2d(4, 4, 1)
        self.right = nn.Conv2d(4, 4, 1)
        self.norm_twice = nn.BatchNorm2d(4)
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm_b(self.conv(self.norm_a(self.conv(x)).relu())).relu()
        x = self.norm_twice(self.left(x)) + self.norm_twice(self.right(x))
        y: Tensor = self.second(self.first(x.mean((2, 3))).relu())
        return y


class SamePadding(nn.Conv2d):
    """Has a forward of its own: pads so that the output has the input's size over the stride."""

    def forward(self, x: Tensor) -> Tensor:
        pads: list[int] = []
        for size, kernel, stride in zip(
            x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True
        ):
            total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return F.conv2d(
            F.pad(x, pads), self.weight, self.bias, self.stride, 0, self.dilation, self.groups
        )


class Standardized(nn.Conv2d):
    """Scales its weight to unit variance before use: a norm's scale cannot be folded into it."""

    def forward(self, x: Tensor) -> Tensor:
        mean, std = (
            self.weight.mean((1, 2, 3), keepdim=True),
            self.weight.std((1, 2, 3), keepdim=True),
        )
        return F.conv2d(x, (self.weight - mean) / std, self.bias, self.stride, self.padding)


class Subclasses(nn.Module):
    """Subclasses of Conv2d with a forward of their own. (N, 3, 9, 9)"""

    def __init__(self) -> None:
        super().__init__()
        self.same = SamePadding(3, 4, 3, stride=2, bias=False)
        self.norm1 = nn.BatchNorm2d(4)
        self.standardized = Standardized(4, 4, 3)
        self.norm2 = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(self.same(x)).relu()
        logits: Tensor = self.fc(self.norm2(self.standardized(x)).mean((2, 3)))
        return logits


class Functional(nn.Module):
    """Bare parameters in products: whole, a slice, in einsum; a layer that nothing calls. (N, 6)"""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Linear(6, 4)
        self.bare = nn.Parameter(torch.randn(8, 4))
        self.stacked = nn.Parameter(torch.randn(2, 8, 8))
        self.mixed = nn.Parameter(torch.randn(3, 8))
        self.scale = nn.Parameter(torch.ones(3))
        self.unused = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = F.linear(self.inside(x), self.bare)
        x = x @ self.stacked[0] + x @ self.stacked.transpose(1, 2)[1]
        return torch.einsum("ni,ki->nk", x, self.mixed) * self.scale


class ViT(nn.Module):
    """A vision transformer on nn.TransformerEncoderLayer and nn.MultiheadAttention. (N, 3, 8, 8)"""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.position = nn.Parameter(torch.randn(1, 5, 16))
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.position
        logits: Tensor = self.head(self.encoder(x)[:, 0])
        return logits


class Tiny(nn.Module):
    """A layer of one weight, and one of equal weights. (N, 1)"""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(1, 1, bias=False)
        self.equal = nn.Linear(1, 3)
        nn.init.constant_(self.equal.weight, 0.25)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.equal(self.one(x))
        return logits


# network -> the shape of one image
SHAPES: dict[type[nn.Module], tuple[int, ...]] = {
    Chain: (4, 8, 8),
    Sequence1d: (3, 16),
    PreActivation: (3, 8, 8),
    Shared: (4, 6, 6),
    Subclasses: (3, 9, 9),
    Functional: (6,),
    ViT: (3, 8, 8),
    Tiny: (1,),
}


def images(network: type[nn.Module], count: int = 2, seed: int = 1) -> Tensor:
    """Standard normal images for one of these networks."""
    return torch.randn(count, *SHAPES[network], generator=torch.Generator().manual_seed(seed))
