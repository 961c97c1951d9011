"""What images a network takes, and how image files are brought to that."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Final

from emqlang.grammar.diagnostics import EmqError, error

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from PIL import Image

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)
MODES: Final = {1: "L", 3: "RGB"}  # pillow's names for 8 bits per channel
DEEP_MODES: Final = ("I", "F", "I;16", "I;16B", "I;16L")  # pillow would clip these to 8 bits
MAX_PIXELS: Final = 89_478_485  # after resizing; pillow's own limit on what it opens


@dataclass(frozen=True, slots=True)
class ImageFormat:
    """What a network takes, and how an image file is brought to that.

    shape      (channels, height, width); another, or none, if it does not take images: then only
               tensors and noise can be its data
    mean, std  per channel, of values in [0, 1]
    resize     length of an image's shorter side before the centre crop
    """

    shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: int

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> ImageFormat:
        """The format of a network of which only the input shape is known.

        Mean and std are ImageNet's for colour, 0.5 otherwise; resize and crop have its ratio.
        """
        half = (0.5,) * next(iter(shape), 0)
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if len(half) == 3 else (half, half)
        return cls(shape, mean, std, resize=round(max(shape[1:], default=1) * 256 / 224))

    @property
    def size(self) -> str:
        """The shape in messages: '3x224x224'."""
        return "x".join(map(str, self.shape)) or "one number"

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 (N, channels, H, W) to float32 with the format's mean and std removed."""
        import torch

        mean = torch.tensor(self.mean).view(1, -1, 1, 1)
        std = torch.tensor(self.std).view(1, -1, 1, 1)
        return (pixels.float() / 255 - mean) / std


IMAGENET: Final = ImageFormat((3, 224, 224), IMAGENET_MEAN, IMAGENET_STD, resize=256)
FASHION_MNIST: Final = ImageFormat((1, 28, 28), (0.2860,), (0.3530,), resize=28)
LARGEST: Final = 2**27  # numbers in one image: half a gigabyte


def parse_shape(text: str) -> tuple[int, ...]:
    """The shape of an image as users write it, 1x28x28. Raises E403."""
    match = re.fullmatch(r"[1-9][0-9]{0,8}(x[1-9][0-9]{0,8})*", text.strip())
    shape = tuple(map(int, match[0].split("x"))) if match else ()
    if not is_shape(shape):
        raise error("E403", f"'{text}' is no shape of an image", "write --input 1x28x28")
    return shape


def is_shape(sizes: tuple[int, ...]) -> bool:
    """Whether an image of these sizes can be: at least one number, and not more than `LARGEST`."""
    return bool(sizes) and min(sizes) > 0 and prod(sizes) <= LARGEST


def read_image(path: Path, images: ImageFormat) -> torch.Tensor:
    """One image file as uint8 (channels, H, W), resized and cropped as torchvision's presets do.

    The shorter side is resized (bilinear, antialiased), and the centre cropped. Raises E304 for a
    file that is not an image of 8 bits per channel.
    """
    import numpy as np
    import torch
    from PIL import Image

    try:
        with Image.open(path) as file:
            if file.mode in DEEP_MODES:
                raise unusable(path, "the image has more than 8 bits per channel")
            converted = file.convert(MODES[images.shape[0]])
            pixels = np.array(_crop(_resize(converted, images.resize, path), images.shape))
    # What pillow raises on a damaged file.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as reason:
        raise unusable(path, f"cannot read this image: {reason}") from reason
    return torch.from_numpy(pixels.reshape(*images.shape[1:], -1)).permute(2, 0, 1)


def unusable(path: Path, message: str, *help: str) -> EmqError:
    """E304 for an image or a folder."""
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
