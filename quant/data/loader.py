"""The user's own batches: a callable or an iterable that gives tensors, tuples or dicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from emqlang.grammar.diagnostics import EmqError, error
from emqlang.quant.networks.signature import LABEL_KEYS
from emqlang.quant.user_code import foreign, load_object

IMAGE_KEYS: Final = ("images", "image", "pixel_values", "inputs", "input", "x")


def read_batches(
    reference: str, shape: tuple[int, ...], classes: int
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Checked batches of a loader: images float32 (N, *shape), labels int64 (N,) or None.

    A batch is the images; or a sequence of images, labels and anything more; or a dict under
    IMAGE_KEYS and LABEL_KEYS. An image without the first dimension is a batch of one.
    Raises E301 for a loader that is not there, E304 for one that fails or does not fit.
    """
    labelled: bool | None = None
    for i, batch in enumerate(_iterate(reference)):
        where = f"batch {i} of {reference}"
        images, labels = _split(batch, where)
        images = _check_images(images, shape, where)
        if labelled not in (None, labels is not None):
            has = "lacks" if labels is None else "has"
            raise _unfit(f"{where} {has} labels, unlike those before")
        labelled = labels is not None
        yield images, _check_labels(labels, len(images), classes, where)


def loader_shape(reference: str) -> tuple[int, ...] | None:
    """The shape of one image in a loader's first batch, if it has one. Raises E301, E304."""
    batch = next(_iterate(reference), None)
    images = None if batch is None else _split(batch, f"batch 0 of {reference}")[0]
    return tuple(images.shape[1:]) if isinstance(images, Tensor) and images.dim() > 1 else None


def _iterate(reference: str) -> Iterator[Any]:
    """The batches of what a reference names: an iterable, or a callable that returns one."""
    loader = load_object(reference)
    with foreign("E304", f"the loader {reference}"):
        batches = iter(loader() if callable(loader) else loader)
    end = object()
    while True:
        with foreign("E304", f"the loader {reference}"):
            batch = next(batches, end)
        if batch is end:
            return
        yield batch


def _split(batch: Any, where: str) -> tuple[Any, Any]:
    """Images and labels, or None, of one batch in any of the accepted forms."""
    if isinstance(batch, Mapping):
        image_key = next((key for key in IMAGE_KEYS if key in batch), None)
        label_key = next((key for key in LABEL_KEYS if key in batch), None)
        if image_key is None:
            help = f"put them under one of: {', '.join(IMAGE_KEYS)}"
            raise _unfit(f"{where} is a dict without images", help)
        return batch[image_key], None if label_key is None else batch[label_key]
    if isinstance(batch, Sequence):
        if not batch:
            raise _unfit(f"{where} is empty")
        return batch[0], batch[1] if len(batch) > 1 else None
    return batch, None


def _check_images(images: Any, shape: tuple[int, ...], where: str) -> Tensor:
    if not isinstance(images, Tensor):
        raise _unfit(f"the images of {where} are of type {type(images).__name__}, not a tensor")
    if not images.is_floating_point():
        help = "give floats, normalised as the network takes them"
        raise _unfit(f"the images of {where} are {images.dtype}", help)
    if images.dim() == len(shape):
        images = images[None]
    if images.shape[1:] != shape or not len(images):
        theirs, wanted = "x".join(map(str, images.shape)), "x".join(map(str, shape))
        raise _unfit(f"the images of {where} are {theirs}, and the network takes Nx{wanted}")
    checked: Tensor = images.detach().to("cpu", torch.float32)
    return checked


def _check_labels(labels: Any, count: int, classes: int, where: str) -> Tensor | None:
    if labels is None:
        return None
    if not isinstance(labels, Tensor | int):
        raise _unfit(f"the labels of {where} are of type {type(labels).__name__}, not a tensor")
    numbers: Tensor = torch.as_tensor(labels).detach().cpu().reshape(-1)
    if numbers.is_floating_point() or numbers.shape != (count,):
        raise _unfit(f"the labels of {where} are not one class number per image")
    if numbers.min() < 0 or numbers.max() >= classes:
        raise _unfit(f"the labels of {where} leave the network's classes, 0 to {classes - 1}")
    return numbers.long()


def _unfit(message: str, *help: str) -> EmqError:
    return error("E304", message, *help)
