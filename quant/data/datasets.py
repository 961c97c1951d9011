"""Data sets: batches of normalised images, with labels where there are any."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from hashlib import blake2b
from math import prod
from pathlib import Path
from typing import Final, Literal

import torch
from safetensors import safe_open
from torch import Tensor, nn

from emqlang.grammar.diagnostics import Diagnostic, error
from emqlang.quant.data.images import FASHION_MNIST, ImageFormat, read_image, unusable
from emqlang.quant.data.loader import loader_shape, read_batches
from emqlang.quant.models import EMBEDDED
from emqlang.quant.user_code import foreign

Batch = tuple[Tensor, Tensor | None]  # float32 (N, *shape), normalised; int64 (N,) class numbers
Split = Literal["calibration", "test"]

SHIPPED: Final = "fashion-mnist"
SUFFIXES: Final = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
MOST_NOISE: Final = 2**31  # numbers in all of it: 8 GiB
NOISE: Final = "write --data noise:64"
FORMS: Final = (
    "--data takes a folder of images, package.module:loader, file.py:loader, noise:N, "
    "or fashion-mnist"
)


@dataclass(frozen=True)
class Dataset:
    """A data set that can be iterated over any number of times.

    source  the line that every output shows
    count   its images; None where only a pass over it would tell
    noise   whether it is random values
    """

    name: str
    source: str
    count: int | None
    noise: bool
    stream: Callable[[], Iterator[Batch]] = field(repr=False, compare=False)

    def __iter__(self) -> Iterator[Batch]:
        return self.batches()

    def batches(self, size: int = 64) -> Iterator[Batch]:
        """All images in order, at most `size` at a time. Values that are not finite are E304."""
        for images, labels in self.stream():
            if not images.isfinite().all():
                raise error("E304", f"{self.name} has images with values that are not finite")
            for start in range(0, len(images), size):
                part = slice(start, start + size)
                yield images[part], None if labels is None else labels[part]

    def tensors(self) -> Batch:
        """All images and labels at once."""
        images, labels = zip(*self.batches(), strict=True)
        return torch.cat(images), None if labels[0] is None else torch.cat(labels)

    def halves(self, seed: int) -> tuple[Dataset, Dataset]:
        """The images in two random halves, held in memory."""
        images, labels = self.tensors()
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))

        def half(rows: Tensor) -> Dataset:
            source = f"{len(rows):,} of {self.source}"
            return _in_memory(
                self.name, source, images[rows], None if labels is None else labels[rows]
            )

        middle = len(order) // 2
        return half(order[:middle]), half(order[middle:])

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits of BLAKE2b over the images and labels as the network is given them."""
        digest = blake2b(digest_size=16)
        for images, labels in self.batches():
            digest.update(images.numpy(force=True).tobytes())
            digest.update(b"" if labels is None else labels.numpy(force=True).tobytes())
        return digest.hexdigest()

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        return (Diagnostic("W607", f"the data is {self.source}"),) if self.noise else ()


def load_data(
    text: str,
    images: ImageFormat,
    classes: int,
    *,
    count: int | None = None,
    split: Split = "calibration",
    seed: int = 0,
    net: nn.Module | None = None,
) -> Dataset:
    """The data set that a text names, in one of FORMS.

    images  what the network takes; it has so many `classes`
    count   images drawn with the seed; None takes all, in order. Of noise:N, N decides
    net     labels noise with the classes that it predicts
    Raises E301 for a folder, module or file that is not there, E303 for noise without a network,
    E304 for images that do not fit or are too few, E403 for a bad text.
    """
    if text == SHIPPED:
        return _shipped(images, count, split, seed)
    if text.startswith("noise:"):
        return _noise(text, images, seed, net)
    if os.path.isdir(text):  # noqa: PTH112 - Path.is_dir raises on a name that is too long
        return _folder(Path(text), images, classes, count, seed)
    check_named(text)
    return _loader(text, images, classes, count)


def check_named(text: str) -> None:
    """Raises E301 where there is nothing that a text could name, E403 for noise without a number;
    nothing is read."""
    place, colon, _ = text.rpartition(":")
    if text.startswith("noise:"):
        _noise_images(text)
        return
    if text == SHIPPED or os.path.isdir(text):  # noqa: PTH112
        return
    if not colon:
        raise error("E301", f"there is no folder '{text}'", FORMS, path=text)
    if place.endswith(".py") and not os.path.isfile(place):  # noqa: PTH113
        raise error("E301", "there is no such file", path=place)


def image_shape(text: str) -> tuple[int, ...] | None:
    """The shape of one image of a data set, as `load_data` takes it, if that tells."""
    if text == SHIPPED:
        return FASHION_MNIST.shape
    loader = ":" in text and not text.startswith("noise:") and not os.path.isdir(text)  # noqa: PTH112
    return loader_shape(text) if loader else None


def _shipped(images: ImageFormat, count: int | None, split: Split, seed: int) -> Dataset:
    if images.shape != FASHION_MNIST.shape:
        sizes = f"{FASHION_MNIST.size}, and the network takes {images.size}"
        raise error("E304", f"Fashion-MNIST's images are {sizes}")
    with safe_open(EMBEDDED / f"{SHIPPED}.safetensors", framework="pt") as file:
        pixels = file.get_tensor(f"{split}_images")
        labels = file.get_tensor(f"{split}_labels").long()
    drawn = _draw(len(pixels), count, seed, SHIPPED)
    source = f"Fashion-MNIST, {len(drawn):,} of {len(pixels):,} {split} images"
    return _in_memory(SHIPPED, source, images.normalise(pixels[drawn, None]), labels[drawn])


def _noise(text: str, images: ImageFormat, seed: int, net: nn.Module | None) -> Dataset:
    number = _noise_images(text)
    if number * prod(images.shape) > MOST_NOISE:
        raise error("E403", f"{number:,} images of {images.size} do not fit into memory", NOISE)
    if net is None:
        raise error("E303", "noise is labelled by a network, and there is none here")
    values = torch.randn(number, *images.shape, generator=torch.Generator().manual_seed(seed))
    device = next((p.device for p in net.parameters()), values.device)
    with torch.no_grad(), foreign("E308", "the network's forward", seed=0):
        answers = [net(part.to(device)).argmax(-1).cpu() for part in torch.split(values, 64)]
    source = f"noise: {number} standard normal images with the network's own labels"
    return _in_memory(text, source, values, torch.cat(answers), noise=True)


def _noise_images(text: str) -> int:
    """N of noise:N. Raises E403."""
    number = text.removeprefix("noise:")
    if not re.fullmatch("0*[1-9][0-9]{0,9}", number):
        raise error("E403", f"'{number}' is not a number of images", NOISE)
    return int(number)


def _folder(root: Path, images: ImageFormat, classes: int, count: int | None, seed: int) -> Dataset:
    """ImageNet's layout, root/class/image; images that lie in root itself have no labels."""
    if len(images.shape) != 3 or images.shape[0] not in (1, 3):
        message = f"the network takes {images.size}, which is not an image in grey or colour"
        raise error("E304", message, FORMS, path=str(root))
    files = _list_folder(root, classes)
    drawn = [files[i] for i in _draw(len(files), count, seed, str(root)).tolist()]

    def stream() -> Iterator[Batch]:
        for start in range(0, len(drawn), 64):
            paths, numbers = zip(*drawn[start : start + 64], strict=True)
            pixels = torch.stack([read_image(path, images) for path in paths])
            yield images.normalise(pixels), None if numbers[0] is None else torch.tensor(numbers)

    source = f"{len(drawn):,} of {len(files):,} images in {root}"
    data = Dataset(str(root), source, len(files), False, stream)
    if count is None:  # a whole test set may not fit into memory: decode it again in every pass
        return data
    return _in_memory(data.name, source, *data.tensors())


def _list_folder(root: Path, classes: int) -> list[tuple[Path, int | None]]:
    """Image files in sorted order, with their class numbers.

    Those are the folders' own names if they are numbers, or else their order.
    """
    try:
        folders = sorted(
            path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")
        )
    except OSError as reason:
        raise error("E301", f"cannot read this folder: {reason}", path=str(root)) from reason
    if not folders:
        return [(path, None) for path in _images_in(root)]
    names = [folder.name for folder in folders]
    if all(name.isdecimal() and int(name) < classes for name in names):
        numbers = [int(name) for name in names]
    elif len(names) == classes:
        numbers = list(range(classes))
    else:
        message = f"there are {len(names)} class folders, and the network has {classes} classes"
        help = f"give all {classes}, or name the folders by class number, from 0"
        raise unusable(root, message, help)
    pairs = zip(folders, numbers, strict=True)
    return [(path, number) for folder, number in pairs for path in _images_in(folder)]


def _images_in(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()
    )


def _loader(text: str, images: ImageFormat, classes: int, count: int | None) -> Dataset:
    """The user's own loader: its first `count` images, in its order, as it normalised them."""
    stream = partial(read_batches, text, images.shape, classes)
    if count is None:
        return Dataset(text, f"all images of {text}", None, False, _steady(text, stream))
    batches: list[Batch] = []
    available = 0
    for batch in stream():
        batches.append(batch)
        available += len(batch[0])
        if available >= count:
            break
    if available < count:
        raise _too_few(text, available, count)
    values = torch.cat([images for images, _ in batches])[:count]
    known = [labels for _, labels in batches if labels is not None]
    labels = torch.cat(known)[:count] if known else None
    return _in_memory(text, f"{count:,} images of {text}", values, labels)


def _steady(name: str, stream: Callable[[], Iterator[Batch]]) -> Callable[[], Iterator[Batch]]:
    """The stream; E304 where a pass over it does not give what the passes before gave.

    Figures of one pass are held against those of another, image by image.
    """
    known: list[str] = []

    def batches() -> Iterator[Batch]:
        number = 0
        for number, batch in enumerate(stream(), 1):
            digest = _digest(batch)
            if number > len(known):
                known.append(digest)
            if known[number - 1] != digest:
                raise _unsteady(name)
            yield batch
        if number < len(known):
            raise _unsteady(name)

    return batches


def _unsteady(name: str) -> Exception:
    message = "the loader gives other images each time it is gone through"
    return error("E304", message, "turn shuffling and random augmentation off", path=name)


def _digest(batch: Batch) -> str:
    digest = blake2b(digest_size=16)
    for tensor in batch:
        digest.update(b"" if tensor is None else tensor.numpy(force=True).tobytes())
    return digest.hexdigest()


def _in_memory(
    name: str, source: str, images: Tensor, labels: Tensor | None, *, noise: bool = False
) -> Dataset:
    return Dataset(name, source, len(images), noise, lambda: iter([(images, labels)]))


def _draw(available: int, count: int | None, seed: int, name: str) -> Tensor:
    """Positions of `count` images, drawn without replacement; of all, in order, if it is None."""
    if available < (count or 1):
        raise _too_few(name, available, count or 1)
    if count is None:
        return torch.arange(available)
    return torch.randperm(available, generator=torch.Generator().manual_seed(seed))[:count]


def _too_few(name: str, available: int, count: int) -> Exception:
    help = f"ask for fewer: --stat-images {available}" if available else FORMS
    message = f"{count:,} images are asked for, and there are {available:,}"
    return error("E304", message, help, path=name)
