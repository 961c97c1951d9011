"""Fashion-MNIST as Zalando publishes it: 60,000 training images and 10,000 test images."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from emqlang.grammar.diagnostics import error

DEBIAN_PACKAGE: Final = "dataset-fashion-mnist"
DEBIAN_DIR: Final = Path("/usr/share/datasets/fashion-mnist")  # where it puts them


@dataclass(frozen=True, slots=True)
class FashionMnist:
    """Images uint8 (N, 28, 28), labels uint8 (N,), and the SHA-256 of all four arrays."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    sha256: str


def read_fashion_mnist(folder: Path) -> FashionMnist:
    """The four idx files, gzipped, as Zalando publishes them. A missing or damaged file is E301."""
    stems = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    paths = [folder / f"{stem}-ubyte.gz" for stem in stems]
    raw = [_unzip(path) for path in paths]
    shapes = ((60000, 28, 28), (60000,), (10000, 28, 28), (10000,))
    train_images, train_labels, test_images, test_labels = map(_decode, paths, raw, shapes)
    sha256 = hashlib.sha256(b"".join(raw)).hexdigest()
    return FashionMnist(train_images, train_labels, test_images, test_labels, sha256)


def _decode(path: Path, data: bytes, shape: tuple[int, ...]) -> Tensor:
    """The bytes of an idx file after its header: a magic number, and one length per dimension."""
    header = np.frombuffer(data[: 4 * (1 + len(shape))], ">u4")
    expected = [0x800 + len(shape), *shape]
    if header.tolist() != expected or len(data) != header.nbytes + math.prod(shape):
        size = "x".join(map(str, shape))
        raise error("E301", f"this is not an idx file of {size} bytes", path=str(path))
    values = np.frombuffer(data, np.uint8, offset=header.nbytes)
    return torch.from_numpy(values.reshape(shape).copy())


def _unzip(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as reason:
        help = (
            "give the folder of Fashion-MNIST's four .gz files with --data, "
            "or install Debian's dataset-fashion-mnist"
        )
        raise error("E301", f"cannot read this file: {reason}", help, path=str(path)) from reason
