"""Residual networks, with torchvision's parameter names, shapes, forward and initialisation.

Source: arXiv 1512.03385; as in torchvision, a bottleneck's stride is on its 3x3 convolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from torch import Tensor, nn

Stem = Literal["7x7", "3x3", "3x3/2"]
# Kernel size and stride.
STEMS: Final[dict[Stem, tuple[int, int]]] = {"7x7": (7, 2), "3x3": (3, 1), "3x3/2": (3, 2)}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    expansion = 1
    convs = ("conv1", "conv2")

    def __init__(
        self, inputs: int, width: int, stride: int = 1, downsample: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.conv2 = _conv(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        result: Tensor = self.relu(out + shortcut)
        return result


class Bottleneck(nn.Module):
    """A 3x3 convolution between two 1x1 convolutions, and a shortcut."""

    expansion = 4
    convs = ("conv1", "conv2", "conv3")

    def __init__(
        self, inputs: int, width: int, stride: int = 1, downsample: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _conv(width, width * self.expansion, 1)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.relu = nn.ReLU()
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        result: Tensor = self.relu(out + shortcut)
        return result


BLOCKS: Final[dict[str, type[BasicBlock] | type[Bottleneck]]] = {
    "basic": BasicBlock,
    "bottleneck": Bottleneck,
}


class ResNet(nn.Module):
    """(N, channels, H, W) images to (N, classes) logits.

    `width` is the first stage's; each of the four doubles it. Only a 7x7 stem is followed by a max
    pooling. `tied_layers`: a downsample convolution shares its bits with its block's last one, as
    in the paper's benchmark.
    """

    def __init__(
        self,
        block: Literal["basic", "bottleneck"],
        depths: Sequence[int],
        *,
        width: int = 64,
        channels: int = 3,
        classes: int = 1000,
        stem: Stem = "7x7",
    ) -> None:
        super().__init__()
        kind = BLOCKS[block]
        kernel, stride = STEMS[stem]
        self.conv1 = _conv(channels, width, kernel, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if stem == "7x7" else nn.Identity()
        widths = [width * 2**stage for stage in range(4)]
        inputs = [width, *(w * kind.expansion for w in widths[:3])]
        self.layer1 = _stage(kind, inputs[0], widths[0], depths[0], stride=1)
        self.layer2 = _stage(kind, inputs[1], widths[1], depths[1], stride=2)
        self.layer3 = _stage(kind, inputs[2], widths[2], depths[2], stride=2)
        self.layer4 = _stage(kind, inputs[3], widths[3], depths[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(widths[3] * kind.expansion, classes)
        self.tied_layers = tuple(
            (f"{name}.{module.convs[-1]}", f"{name}.downsample.0")
            for name, module in self.named_modules()
            if isinstance(module, kind) and module.downsample is not None
        )
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


def _stage(
    kind: type[BasicBlock] | type[Bottleneck], inputs: int, width: int, depth: int, stride: int
) -> nn.Sequential:
    outputs = width * kind.expansion
    downsample = None
    if stride != 1 or inputs != outputs:
        downsample = nn.Sequential(_conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
    first = kind(inputs, width, stride, downsample)
    return nn.Sequential(first, *(kind(outputs, width) for _ in range(depth - 1)))


def _initialise(net: nn.Module) -> None:
    """He initialisation by fan out; batch norms and the linear layer keep torch's own."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
