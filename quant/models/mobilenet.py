"""MobileNetV2, with torchvision's parameter names, shapes, forward and initialisation.

Source: arXiv 1801.04381.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from torch import Tensor, nn

# Expansion of the hidden width, output channels, repeats, stride of the first; from Table 2.
IMAGENET_STAGES: Final = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    """A block that expands by 1x1, filters each channel by 3x3 and projects by 1x1.

    The projection has no activation; there is a shortcut where shapes allow.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        expand = [] if expansion == 1 else [_unit(inputs, hidden, kernel=1)]
        self.use_res_connect = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            *expand,
            _unit(hidden, hidden, stride=stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return x + out if self.use_res_connect else out


class MobileNetV2(nn.Module):
    """(N, channels, H, W) images to (N, classes) logits. No layers are tied."""

    tied_layers: tuple[tuple[str, ...], ...] = ()

    def __init__(
        self,
        stages: Sequence[tuple[int, int, int, int]] = IMAGENET_STAGES,
        *,
        stem: int = 32,
        stem_stride: int = 2,
        head: int = 1280,
        channels: int = 3,
        classes: int = 1000,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [_unit(channels, stem, stride=stem_stride)]
        inputs = stem
        for expansion, outputs, repeats, stride in stages:
            for i in range(repeats):
                layers.append(InvertedResidual(inputs, outputs, stride if i == 0 else 1, expansion))
                inputs = outputs
        self.features = nn.Sequential(*layers, _unit(inputs, head, kernel=1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(head, classes))
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.adaptive_avg_pool2d(self.features(x), (1, 1))
        logits: Tensor = self.classifier(x.flatten(1))
        return logits


def _unit(
    inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    conv = nn.Conv2d(
        inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False
    )
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU6())


def _initialise(net: nn.Module) -> None:
    """Convolutions by He, with fan out; the linear layer N(0, 0.01) with zero bias."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
            nn.init.zeros_(module.bias)
