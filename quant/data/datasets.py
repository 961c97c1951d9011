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
from typing import Any, Final, Literal

import torch
from safetensors import safe_open
from torch import Tensor, nn

from emqlang.grammar.diagnostics import Diagnostic, error
from emqlang.quant.data.fashion_mnist import DEBIAN_DIR, DEBIAN_PACKAGE, read_fashion_mnist
from emqlang.quant.data.images import FASHION_MNIST, ImageFormat, read_image, unusable
from emqlang.quant.data.loader import Wanted, first_batch, read_batches
from emqlang.quant.models import EMBEDDED
from emqlang.quant.networks.answers import answer
from emqlang.quant.networks.batches import dense, rows, slice_rows
from emqlang.quant.networks.nested import leaves, structure, tensors
from emqlang.quant.networks.rows import Rows
from emqlang.quant.networks.signature import Signature
from emqlang.quant.progress import Progress
from emqlang.quant.user_code import foreign

# A nest of tensors, as the user's loader gives it. Images of ours are a pair: float32 (N, *shape),
# normalised, and int64 (N,) class numbers or None.
Batch = Any
Split = Literal["calibration", "training", "test"]

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
        for batch in self.stream():
            numbers = [leaf for leaf in tensors(batch) if leaf.is_floating_point()]
            if not all(dense(leaf).isfinite().all() for leaf in numbers if not leaf.is_meta):
                raise error("E304", f"{self.name} has values that are not finite")
            for start in range(0, rows(batch), size):
                yield slice_rows(batch, start, start + size)

    def followed(self, what: str, progress: Progress) -> Iterator[Batch]:
        """The batches, once; `progress` hears how many images are behind, 0 in all if unknown."""
        done = 0
        for batch in self.batches():
            yield batch
            done += rows(batch)
            progress(what, done, self.count or 0)

    def tensors(self) -> Batch:
        """All rows in one batch. Raises E304 where they do not fit in one."""
        all_rows = Rows.of(self.batches())
        parts = [batch for *_, batch in all_rows.chunks(max(1, len(all_rows)))]
        if len(parts) != 1:
            raise error("E304", f"{self.name} has {len(parts) or 'no'} kinds of batches")
        return parts[0]

    def halves(self, seed: int) -> tuple[Dataset, Dataset]:
        """The images in two random halves, held in memory."""
        everything = Rows.of(self.batches())
        order = torch.randperm(len(everything), generator=torch.Generator().manual_seed(seed))

        def half(part: Tensor) -> Dataset:
            source = f"{len(part):,} of {self.source}"
            return _in_memory(self.name, source, everything.take(part.tolist()))

        middle = len(order) // 2
        return half(order[:middle]), half(order[middle:])

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits of BLAKE2b over the images and labels as the network is given them."""
        digest = blake2b(digest_size=16)
        for batch in self.batches():
            _add(digest, batch)
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
    wanted: Wanted | None = None,
    option: str = "--stat-images",
) -> Dataset:
    """The data set that a text names, in one of FORMS.

    images     what the network takes; it has so many `classes`
    count      images drawn with the seed, as `option` says; None takes all, in order. Of noise:N,
               N decides
    net        labels noise with the classes that it predicts; without it noise has no labels
    wanted     what of batches the network is given, if more is known than the shape
    Raises E301 for a folder, module or file that is not there, E304 for images that do not fit or
    are too few, E403 for a bad text.
    """
    wanted = wanted or Wanted(images.shape)
    kind = wanted.precision
    if text == SHIPPED:
        return _shipped(images, count, split, seed, option, kind)
    if text.startswith("noise:"):
        return _noise(text, images, seed, net, kind)
    if os.path.isdir(text):  # noqa: PTH112 - Path.is_dir raises on a name that is too long
        return _folder(Path(text), images, classes, count, seed, option, kind)
    check_named(text)
    return _loader(text, wanted, count, option)


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


def example_of(text: str, signature: Signature) -> Any:
    """The shape of one image of a data set, as a `torch.Size`, or the first batch of a loader that
    gives a network of this signature anything else; None where its name does not tell."""
    if text == SHIPPED:
        return torch.Size(FASHION_MNIST.shape)
    if ":" not in text or text.startswith("noise:") or os.path.isdir(text):  # noqa: PTH112
        return None
    batch = first_batch(text)
    if signature.own is not None:
        return batch
    arguments, named = signature.inputs(batch)
    found = tensors([*arguments, *named.values()])
    alone = len(found) == len(arguments) + len(named) == 1  # a number may be an input, too
    if alone and found[0].dtype == torch.float32 and found[0].ndim > 1:
        return found[0].shape[1:]
    return batch


def _shipped(
    images: ImageFormat,
    count: int | None,
    split: Split,
    seed: int,
    option: str,
    kind: torch.dtype,
) -> Dataset:
    if images.shape != FASHION_MNIST.shape:
        sizes = f"{FASHION_MNIST.size}, and the network takes {images.size}"
        raise error("E304", f"Fashion-MNIST's images are {sizes}")
    pixels, labels, kinds = _fashion_mnist(split)
    drawn = _draw(len(pixels), count, seed, SHIPPED, option)
    source = f"Fashion-MNIST, {len(drawn):,} of {len(pixels):,} {kinds}"
    batch = images.normalise(pixels[drawn, None]).to(kind), labels[drawn]
    return _in_memory(SHIPPED, source, Rows.of([batch]))


def _fashion_mnist(split: Split) -> tuple[Tensor, Tensor, str]:
    """Pixels uint8 (N, 28, 28), labels int64 (N,), and what the images are called.

    All training images where they are installed; without them, those that are shipped to calibrate.
    """
    if split == "training" and os.path.isdir(DEBIAN_DIR):  # noqa: PTH112
        data = read_fashion_mnist(DEBIAN_DIR)
        return data.train_images, data.train_labels.long(), "training images"
    shipped = "calibration" if split == "training" else split
    with safe_open(EMBEDDED / f"{SHIPPED}.safetensors", framework="pt") as file:
        pixels, labels = (file.get_tensor(f"{shipped}_{part}") for part in ("images", "labels"))
    kinds = f"{split} images"
    if split == "training":
        kinds += f" that are shipped (all 60,000: Debian's {DEBIAN_PACKAGE})"
    return pixels, labels.long(), kinds


def _noise(
    text: str, images: ImageFormat, seed: int, net: nn.Module | None, kind: torch.dtype
) -> Dataset:
    number = _noise_images(text)
    if number * prod(images.shape) > MOST_NOISE:
        raise error("E403", f"{number:,} images of {images.size} do not fit into memory", NOISE)
    values = torch.randn(number, *images.shape, generator=torch.Generator().manual_seed(seed))
    values = values.to(kind)
    labels = None if net is None else _predicted(net, values)
    source = f"noise: {number} standard normal images"
    source += " with the network's own labels" * (net is not None)
    return _in_memory(text, source, Rows.of([(values, labels)]), noise=True)


def _predicted(net: nn.Module, values: Tensor) -> Tensor | None:
    """The classes that a network sees in images; None if it answers no classes."""
    device = next((p.device for p in net.parameters()), values.device)
    with torch.no_grad(), foreign("E308", "the network's forward", seed=0):
        given = [(net(part.to(device)), len(part)) for part in torch.split(values, 64)]
    answers = [answer(outputs, size) for outputs, size in given]
    if not all(each.has_classes for each in answers):
        return None
    return torch.cat([each.scores.argmax(-1).cpu() for each in answers])


def _noise_images(text: str) -> int:
    """N of noise:N. Raises E403."""
    number = text.removeprefix("noise:")
    if not re.fullmatch("0*[1-9][0-9]{0,9}", number):
        raise error("E403", f"'{number}' is not a number of images", NOISE)
    return int(number)


def _folder(
    root: Path,
    images: ImageFormat,
    classes: int,
    count: int | None,
    seed: int,
    option: str,
    kind: torch.dtype,
) -> Dataset:
    """ImageNet's layout, root/class/image; images that lie in root itself have no labels."""
    if len(images.shape) != 3 or images.shape[0] not in (1, 3):
        message = f"the network takes {images.size}, which is not an image in grey or colour"
        raise error("E304", message, FORMS, path=str(root))
    files = _list_folder(root, classes)
    drawn = [files[i] for i in _draw(len(files), count, seed, str(root), option).tolist()]

    def stream() -> Iterator[Batch]:
        for start in range(0, len(drawn), 64):
            paths, numbers = zip(*drawn[start : start + 64], strict=True)
            pixels = torch.stack([read_image(path, images) for path in paths])
            labels = None if numbers[0] is None else torch.tensor(numbers)
            yield images.normalise(pixels).to(kind), labels

    source = f"{len(drawn):,} of {len(files):,} images in {root}"
    data = Dataset(str(root), source, len(files), False, stream)
    if count is None:  # a whole test set may not fit into memory: decode it again in every pass
        return data
    return _in_memory(data.name, source, Rows.of(data.batches()))


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


def _loader(text: str, wanted: Wanted, count: int | None, option: str) -> Dataset:
    """The user's own loader: its first `count` rows, in its order, as it gives them."""
    stream = partial(read_batches, text, wanted)
    if count is None:
        stream = partial(stream, whole=True)
        return Dataset(text, f"all images of {text}", None, False, _steady(text, stream))
    taken = Rows.of(stream(), count)
    if len(taken) < count:
        raise _too_few(text, len(taken), count, option)
    return _in_memory(text, f"{count:,} images of {text}", taken)


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
    _add(digest, batch)
    return digest.hexdigest()


def _add(digest: Any, batch: Batch) -> None:
    """The bytes of a batch; and what they are, unless that is images and class numbers."""
    found = tensors(batch)
    kinds = [getattr(leaf, "dtype", type(leaf)) for leaf in leaves(batch) if leaf is not None]
    if kinds not in ([torch.float32], [torch.float32, torch.int64]):
        digest.update(repr((structure(batch), [leaf.shape for leaf in found])).encode())
    for leaf in found:
        values = dense(leaf.detach()).cpu().contiguous().reshape(-1)
        digest.update(values.view(torch.uint8).numpy().data)


def _in_memory(name: str, source: str, held: Rows, *, noise: bool = False) -> Dataset:
    parts = [batch for *_, batch in held.chunks(max(1, len(held)))]
    return Dataset(name, source, len(held), noise, lambda: iter(parts))


def _draw(available: int, count: int | None, seed: int, name: str, option: str) -> Tensor:
    """Positions of `count` images, drawn without replacement; of all, in order, if it is None."""
    if available < (count or 1):
        raise _too_few(name, available, count or 1, option)
    if count is None:
        return torch.arange(available)
    return torch.randperm(available, generator=torch.Generator().manual_seed(seed))[:count]


def _too_few(name: str, available: int, count: int, option: str) -> Exception:
    fewer = f"{option}{available}" if option.endswith("=") else f"{option} {available}"
    help = f"ask for fewer: {fewer}" if available else FORMS
    message = f"{count:,} images are asked for, and there are {available:,}"
    return error("E304", message, help, path=name)
