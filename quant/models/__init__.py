"""THE table of built-in networks. Reading it does not import torch; building a network does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from emqlang.quant.data.images import FASHION_MNIST, IMAGENET, ImageFormat

if TYPE_CHECKING:
    from torch import nn

EMBEDDED: Final = Path(__file__).parents[1] / "shipped"
_HUB: Final = "https://download.pytorch.org/models/"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A built-in network.

    architecture  `file:Class` in this package, built with `arguments`
    images        what it takes; `classes` is the number of its logits
    checkpoint    torchvision's official file: its name in the torch hub cache, ending in the start
                  of its SHA-256; or ""
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
        """The network in eval mode, initialised as torchvision's is under this seed."""
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
    description = f"{description}, ImageNet"
    return ModelSpec(name, description, architecture, IMAGENET, 1000, arguments, checkpoint)


def _fashion(name: str, description: str, architecture: str, **arguments: Any) -> ModelSpec:
    spec = ModelSpec(name, description, architecture, FASHION_MNIST, 10, arguments)
    return replace(spec, embedded=f"{name}.safetensors", data="fashion-mnist")


def _resnet(depth: int, checkpoint: str, block: str, *depths: int) -> ModelSpec:
    name, description = f"resnet{depth}", f"ResNet-{depth}"
    return _imagenet(name, description, "resnet:ResNet", checkpoint, block=block, depths=depths)


def _small_resnet(name: str, description: str) -> ModelSpec:
    shape: dict[str, Any] = {"depths": (2, 2, 2, 2), "width": 16, "stem": "3x3/2"}
    return _fashion(name, description, "resnet:ResNet", block="basic", **shape)


_TABLE: Final = (
    _resnet(18, "resnet18-f37072fd.pth", "basic", 2, 2, 2, 2),
    _resnet(34, "resnet34-b627a593.pth", "basic", 3, 4, 6, 3),
    _resnet(50, "resnet50-0676ba61.pth", "bottleneck", 3, 4, 6, 3),
    _imagenet("mobilenet_v2", "MobileNetV2", "mobilenet:MobileNetV2", "mobilenet_v2-b0353104.pth"),
    _small_resnet("resnet18-fmnist", "ResNet-18 of base width 16, Fashion-MNIST, shipped"),
    _small_resnet("resnet18-fmnist-s1", "the same, trained from another seed, shipped"),
    _fashion(
        "mobilenetv2-fmnist",
        "MobileNetV2 of small widths, Fashion-MNIST, shipped",
        "mobilenet:MobileNetV2",
        stages=((1, 16, 1, 1), (4, 24, 2, 1), (4, 32, 2, 2), (4, 64, 2, 2)),
        stem=16,
        head=256,
    ),
    _fashion(
        "vgg-fmnist",
        "plain chain of 3x3 convolutions, Fashion-MNIST, shipped",
        "vgg:VGG",
        stages=((16, 16), (32, 32), (64, 64), (128, 128)),
    ),
    _fashion(
        "vit-fmnist",
        "small vision transformer, patches of 4x4, Fashion-MNIST, shipped",
        "vit:VisionTransformer",
        **{"size": 28, "patch": 4, "width": 48, "depth": 5, "heads": 3, "hidden": 96},
    ),
)

MODELS: Final[Mapping[str, ModelSpec]] = {spec.name: spec for spec in _TABLE}
