"""A plain chain of 3x3 convolutions: VGG with batch norms and one linear layer.

Source: arXiv 1409.1556.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class VGG(nn.Module):
    """(N, channels, H, W) images to (N, classes) logits. No layers are tied.

    `stages` lists the widths between max poolings.
    """

    tied_layers: tuple[tuple[str, ...], ...] = ()

    def __init__(
        self, stages: Sequence[Sequence[int]], *, channels: int = 3, classes: int = 1000
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = channels
        for i, widths in enumerate(stages):
            layers += [nn.MaxPool2d(2)] if i else []
            for width in widths:
                layers += [
                    nn.Conv2d(inputs, width, 3, padding=1, bias=False),
                    nn.BatchNorm2d(width),
                    nn.ReLU(),
                ]
                inputs = width
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.classifier = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.avgpool(self.features(x)).flatten(1))
        return logits
