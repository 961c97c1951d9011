"""THE table of built-in networks. Reading it does not import torch; building a network does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from emqlang.quant.data.images import FASHION_MNIST, IMAGENET, ImageFormat

if TYPE_CHECKING:
    from torch import nn

EMBEDDED = Path(__file__).parents[1] / "shipped"
_HUB = "https://download.pytorch.org/models/"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One built-in network.

    architecture  `file:Class` in this package, built with `arguments`
    images        what it takes; `classes` is the number of its logits
    checkpoint    torchvision's official file: its name in the torch hub cache, ending in the start of its SHA-256; or ""
    embedded      file name of the weights shipped with this package; or ""
    data          the shipped images it was trained for; or ""
    """

    name: str
    description: str
    architecture: str
    images: ImageFormat
    classes: int
    arguments: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: str = ""
    embedded: str = ""
    data: str = ""

    @property
    def url(self) -> str:
        return _HUB + self.checkpoint if self.checkpoint else ""

    @property
    def embedded_path(self) -> Path | None:
        return EMBEDDED / self.embedded if self.embedded else None

    def build(self, seed: int = 0) -> nn.Module:
        """The network in evaluation mode, initialised as torchvision does under `torch.manual_seed(seed)`."""
        import torch

        file, name = self.architecture.split(":")
        network = getattr(import_module(f"emqlang.quant.models.{file}"), name)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net: nn.Module = network(
                **self.arguments, channels=self.images.shape[0], classes=self.classes
            )
        return net.eval()


def _imagenet(
    name: str, description: str, architecture: str, checkpoint: str, **arguments: Any
) -> ModelSpec:
    return ModelSpec(name, description, architecture, IMAGENET, 1000, arguments, checkpoint)


def _fashion(name: str, description: str, architecture: str, **arguments: Any) -> ModelSpec:
    return ModelSpec(
        name,
        description,
        architecture,
        FASHION_MNIST,
        10,
        arguments,
        embedded=f"{name}.safetensors",
        data="fashion-mnist",
    )


_SMALL_RESNET: dict[str, Any] = {
    "block": "basic",
    "depths": (2, 2, 2, 2),
    "width": 16,
    "stem": "3x3/2",
}
_SMALL_STAGES = ((1, 16, 1, 1), (4, 24, 2, 1), (4, 32, 2, 2), (4, 64, 2, 2))
_VGG_STAGES = ((16, 16), (32, 32), (64, 64), (128, 128))
# fmt: off
_TABLE = (
    _imagenet("resnet18", "ResNet-18, ImageNet", "resnet:ResNet", "resnet18-f37072fd.pth",
              block="basic", depths=(2, 2, 2, 2)),
    _imagenet("resnet34", "ResNet-34, ImageNet", "resnet:ResNet", "resnet34-b627a593.pth",
              block="basic", depths=(3, 4, 6, 3)),
    _imagenet("resnet50", "ResNet-50, ImageNet", "resnet:ResNet", "resnet50-0676ba61.pth",
              block="bottleneck", depths=(3, 4, 6, 3)),
    _imagenet("mobilenet_v2", "MobileNetV2, ImageNet", "mobilenet:MobileNetV2", "mobilenet_v2-b0353104.pth"),
    _fashion("resnet18-fmnist", "ResNet-18 of base width 16, Fashion-MNIST, shipped", "resnet:ResNet", **_SMALL_RESNET),
    _fashion("resnet18-fmnist-s1", "the same, trained from another seed, shipped", "resnet:ResNet", **_SMALL_RESNET),
    _fashion("mobilenetv2-fmnist", "MobileNetV2 of small widths, Fashion-MNIST, shipped", "mobilenet:MobileNetV2",
             stages=_SMALL_STAGES, stem=16, head=256),
    _fashion("vgg-fmnist", "plain chain of 3x3 convolutions, Fashion-MNIST, shipped", "vgg:VGG", stages=_VGG_STAGES),
)
# fmt: on

MODELS: Mapping[str, ModelSpec] = MappingProxyType({spec.name: spec for spec in _TABLE})
