"""What images a network takes, and how image files are brought to that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from emqlang.grammar.diagnostics import EmqError, error

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from PIL import Image

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MODES = {1: "L", 3: "RGB"}  # pillow's names for 8 bits a channel
DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L")  # pillow would clip these to 8 bits
MAX_PIXELS = 89_478_485  # after resizing; pillow's own limit on what it opens


@dataclass(frozen=True, slots=True)
class ImageFormat:
    """A network's input: shape (channels, height, width), per-channel mean and std of values in [0, 1], and `resize`,
    the length an image's shorter side is brought to before the centre crop (evaluation preprocessing).

    A network that takes no images has another shape; only tensors and noise can be its data.
    """

    shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: int

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> ImageFormat:
        """The format of a network of which only the input shape is known: ImageNet's statistics for colour, 0.5 otherwise,
        and ImageNet's ratio of 256 to 224 between resize and crop."""
        mean, std = (
            (IMAGENET_MEAN, IMAGENET_STD)
            if shape[0] == 3
            else ((0.5,) * shape[0], (0.5,) * shape[0])
        )
        return cls(shape, mean, std, resize=round(max(shape[1:], default=1) * 256 / 224))

    @property
    def size(self) -> str:
        """The shape as messages say it: '3x224x224'."""
        return "x".join(map(str, self.shape))

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 (N, channels, H, W) to float32 with the format's mean and std taken out."""
        import torch

        mean = torch.tensor(self.mean).view(1, -1, 1, 1)
        std = torch.tensor(self.std).view(1, -1, 1, 1)
        return (pixels.float() / 255 - mean) / std


IMAGENET = ImageFormat((3, 224, 224), IMAGENET_MEAN, IMAGENET_STD, resize=256)
FASHION_MNIST = ImageFormat((1, 28, 28), (0.2860,), (0.3530,), resize=28)


def read_image(path: Path, images: ImageFormat) -> torch.Tensor:
    """One image file as uint8 (channels, H, W): shorter side resized (bilinear, antialiased), centre cropped, as torchvision's
    evaluation presets do on pillow images. A file that is no image of 8 bits a channel is E304."""
    import numpy as np
    import torch
    from PIL import Image

    try:
        with Image.open(path) as file:
            if file.mode in DEEP_MODES:
                raise unusable(path, "the image has more than 8 bits a channel")
            pixels = np.array(
                _crop(
                    _resize(file.convert(MODES[images.shape[0]]), images.resize, path), images.shape
                )
            )
    except (
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
    ) as reason:  # what pillow raises on a damaged file
        raise unusable(path, f"cannot read this image: {reason}") from reason
    return torch.from_numpy(pixels.reshape(*images.shape[1:], -1)).permute(2, 0, 1)


def unusable(path: Path, message: str, *help: str) -> EmqError:
    return error("E304", message, *help, path=str(path))


def _resize(image: Image.Image, short: int, path: Path) -> Image.Image:
    from PIL.Image import Resampling

    width, height = image.size
    long = int(short * max(width, height) / min(width, height))
    if short * long > MAX_PIXELS:
        raise unusable(path, f"the image is too elongated: {width} x {height} pixels")
    return image.resize((short, long) if width <= height else (long, short), Resampling.BILINEAR)


def _crop(image: Image.Image, shape: tuple[int, ...]) -> Image.Image:
    _, height, width = shape
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))
