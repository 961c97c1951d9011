"""Data sets: batches of normalised images, with labels where there are any."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Literal

import torch
from safetensors import safe_open
from torch import Tensor, nn

from emqlang.grammar.diagnostics import Diagnostic, error
from emqlang.quant.data.images import FASHION_MNIST, IMAGENET, ImageFormat, read_image, unusable
from emqlang.quant.data.loader import loader_shape, read_batches
from emqlang.quant.models import EMBEDDED
from emqlang.quant.user_code import foreign

Batch = tuple[Tensor, Tensor | None]  # float32 (N, *shape), normalised; int64 (N,) class numbers
Split = Literal["calibration", "test"]

SHIPPED = "fashion-mnist"
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
FORMS = "--data takes a folder of images, package.module:loader, file.py:loader, noise:N, or fashion-mnist"


@dataclass(frozen=True)
class Batches:
    """One data set. `source` is the line that every output shows; `count` is None where only a pass over it would tell."""

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
            parts = torch.split(images, size)
            marks = torch.split(labels, size) if labels is not None else (None,) * len(parts)
            yield from zip(parts, marks, strict=True)

    def tensors(self) -> Batch:
        """All images and labels at once."""
        images, labels = zip(*self.batches(), strict=True)
        return torch.cat(images), None if labels[0] is None else torch.cat(labels)

    def halves(self, seed: int) -> tuple[Batches, Batches]:
        """The images in two random halves, held in memory."""
        images, labels = self.tensors()
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
        parts = order[: len(order) // 2], order[len(order) // 2 :]
        first, second = (
            _fixed(
                self.name,
                f"{len(rows):,} of {self.source}",
                images[rows],
                None if labels is None else labels[rows],
            )
            for rows in parts
        )
        return first, second

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits of BLAKE2b over the images and labels as the network meets them."""
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
) -> Batches:
    """The data set a user asked for: FORMS. `count` images are drawn with the seed; None takes all, in order.

    noise:N  N decides, not `count`; labels are the class `net` predicts
    errors   E301 there is no such folder, module or file; E304 the images do not fit, or are too few; E403 a bad text
    """
    if text == SHIPPED:
        return _shipped(images, count, split, seed)
    if text.startswith("noise:"):
        return _noise(text, images, seed, net)
    if os.path.isdir(text):  # noqa: PTH112 - Path.is_dir raises on a name that is too long
        return _folder(Path(text), images, classes, count, seed)
    if ":" in text:
        return _own(text, images, classes, count)
    raise error("E301", f"there is no folder '{text}'", FORMS, path=text)


def image_shape(text: str) -> tuple[int, ...]:
    """The shape of one image of a data set, as `load_data` takes it; ImageNet's if it has none."""
    if text == SHIPPED:
        return FASHION_MNIST.shape
    loader = ":" in text and not text.startswith("noise:") and not os.path.isdir(text)  # noqa: PTH112
    return (loader_shape(text) if loader else None) or IMAGENET.shape


def _shipped(images: ImageFormat, count: int | None, split: Split, seed: int) -> Batches:
    if images.shape != FASHION_MNIST.shape:
        raise error(
            "E304",
            f"Fashion-MNIST's images are {FASHION_MNIST.size}, and the network takes {images.size}",
        )
    with safe_open(EMBEDDED / f"{SHIPPED}.safetensors", framework="pt") as file:
        pixels, labels = (
            file.get_tensor(f"{split}_images"),
            file.get_tensor(f"{split}_labels").long(),
        )
    chosen = _draw(len(pixels), count, seed, SHIPPED)
    source = f"Fashion-MNIST, {len(chosen):,} of {len(pixels):,} {split} images"
    return _fixed(SHIPPED, source, images.normalise(pixels[chosen, None]), labels[chosen])


def _noise(text: str, images: ImageFormat, seed: int, net: nn.Module | None) -> Batches:
    number = text.removeprefix("noise:")
    if not (number.isdecimal() and int(number) > 0):
        raise error("E403", f"'{number}' is not a number of images", "write --data noise:64")
    if net is None:
        raise error("E303", "noise is labelled by a network, and there is none here")
    values = torch.randn(int(number), *images.shape, generator=torch.Generator().manual_seed(seed))
    device = next((p.device for p in net.parameters()), values.device)
    with torch.no_grad(), foreign("E308", "the network's forward"):
        labels = torch.cat(
            [net(part.to(device)).argmax(-1).cpu() for part in torch.split(values, 64)]
        )
    source = f"noise: {number} standard normal images with the network's own labels"
    return _fixed(text, source, values, labels, noise=True)


def _folder(root: Path, images: ImageFormat, classes: int, count: int | None, seed: int) -> Batches:
    """ImageNet's layout, root/class/image; images that lie in root itself have no labels."""
    if len(images.shape) != 3 or images.shape[0] not in (1, 3):
        raise error(
            "E304",
            f"the network takes {images.size}, which is no image in grey or colour",
            FORMS,
            path=str(root),
        )
    files, labels = _list_folder(root, classes)
    chosen = _draw(len(files), count, seed, str(root)).tolist()

    def stream() -> Iterator[Batch]:
        for i in range(0, len(chosen), 64):
            part = chosen[i : i + 64]
            pixels = torch.stack([read_image(files[j], images) for j in part])
            yield (
                images.normalise(pixels),
                None if labels is None else torch.tensor([labels[j] for j in part]),
            )

    source = f"{len(chosen):,} of {len(files):,} images in {root}"
    if count is None:  # a whole test set may not fit into memory: decode it again in every pass
        return Batches(str(root), source, len(files), False, stream)
    parts, marks = zip(*stream(), strict=True)
    return _fixed(str(root), source, torch.cat(parts), None if labels is None else torch.cat(marks))


def _list_folder(root: Path, classes: int) -> tuple[list[Path], list[int] | None]:
    """Image files in sorted order, and their class numbers: the folders' own names if they are numbers, or else their order."""
    try:
        folders = sorted(
            path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")
        )
    except OSError as reason:
        raise error("E301", f"cannot read this folder: {reason}", path=str(root)) from reason
    if not folders:
        return _images_in(root), None
    names = [folder.name for folder in folders]
    if all(name.isdecimal() and int(name) < classes for name in names):
        numbers = [int(name) for name in names]
    elif len(names) == classes:
        numbers = list(range(classes))
    else:
        message = f"there are {len(names)} class folders, and the network has {classes} classes"
        raise unusable(
            root, message, f"give all {classes}, or name the folders by class number, from 0"
        )
    pairs = [
        (path, number)
        for folder, number in zip(folders, numbers, strict=True)
        for path in _images_in(folder)
    ]
    return [path for path, _ in pairs], [number for _, number in pairs]


def _images_in(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()
    )


def _own(text: str, images: ImageFormat, classes: int, count: int | None) -> Batches:
    """The user's own loader: its first `count` images, in its order, as it normalised them."""
    if count is None:
        return Batches(
            text,
            f"all images of {text}",
            None,
            False,
            lambda: read_batches(text, images.shape, classes),
        )
    parts: list[Tensor] = []
    marks: list[Tensor | None] = []
    for values, labels in read_batches(text, images.shape, classes):
        parts.append(values)
        marks.append(labels)
        if sum(map(len, parts)) >= count:
            break
    available = sum(map(len, parts))
    if available < count:
        raise _too_few(text, available, count)
    known = [mark for mark in marks if mark is not None]
    labelled = torch.cat(known)[:count] if known else None
    return _fixed(text, f"{count:,} images of {text}", torch.cat(parts)[:count], labelled)


def _fixed(
    name: str, source: str, images: Tensor, labels: Tensor | None, *, noise: bool = False
) -> Batches:
    """A data set that lies in memory."""
    return Batches(name, source, len(images), noise, lambda: iter([(images, labels)]))


def _draw(available: int, count: int | None, seed: int, name: str) -> Tensor:
    """Positions of `count` of the images, drawn without replacement; all of them, in order, if count is None."""
    if available < (count or 1):
        raise _too_few(name, available, count or 1)
    if count is None:
        return torch.arange(available)
    return torch.randperm(available, generator=torch.Generator().manual_seed(seed))[:count]


def _too_few(name: str, available: int, count: int) -> Exception:
    help = (f"ask for fewer: --stat-images {available}",) if available else (FORMS,)
    return error(
        "E304", f"{count:,} images are asked for, and there are {available:,}", *help, path=name
    )
