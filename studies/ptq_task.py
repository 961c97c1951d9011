"""What `ptq.py` and `ptq_brevitas.py` share: the network, the calibration images, and the rows.

The network is `resnet18-fmnist` as shipped, batch norms folded. A draw is 1,024 of the 60,000
training images, chosen by its seed.
"""

from __future__ import annotations

import base64
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rows import RAW, append, raw
from torch import Tensor, nn

from emqlang.quant.data.datasets import load_data
from emqlang.quant.data.fashion_mnist import DEBIAN_DIR, read_fashion_mnist
from emqlang.quant.data.images import FASHION_MNIST
from emqlang.quant.networks.network import Network, load

MODEL = "resnet18-fmnist"
CALIBRATION, BATCH = 1024, 32
DRAWS = (0, 1, 2)
KEY = ("side", "method", "bits", "iterations", "draw")
FOLDER_HELP = "folder of Fashion-MNIST's four .gz files"


def arguments(description: str | None) -> Namespace:
    parser = ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, default=DEBIAN_DIR, help=FOLDER_HELP)
    parser.add_argument("--out", type=Path, default=RAW / "ptq.jsonl")
    parser.add_argument("--iterations", type=int, default=1000, help="iterations of each unit")
    parser.add_argument("--only", default="", help="rows whose method begins with this")
    return parser.parse_args()


@cache
def network() -> Network:
    return load(MODEL)


@cache
def training_images(folder: Path) -> Tensor:
    return read_fashion_mnist(folder).train_images


def calibration(folder: Path, draw: int) -> list[Tensor]:
    """Batches of a draw's images, normalised."""
    images = training_images(folder)
    generator = torch.Generator().manual_seed(draw)
    chosen = torch.randperm(len(images), generator=generator)[:CALIBRATION]
    return list(torch.split(FASHION_MNIST.normalise(images[chosen, None]), BATCH))


@cache
def test_images() -> tuple[Tensor, Tensor]:
    images, labels = load_data("fashion-mnist", FASHION_MNIST, 10, split="test").tensors()
    assert labels is not None
    return images, labels


@torch.inference_mode()
def correct(module: nn.Module) -> Tensor:
    """Which test images a network classifies correctly."""
    images, labels = test_images()
    answers = [module(part).argmax(1) for part in torch.split(images, 250)]
    return torch.cat(answers) == labels


def record(path: Path, row: Mapping[str, Any], marks: Tensor) -> None:
    """Add a finished row; `marks` are packed, one bit an image."""
    accuracy = float(marks.double().mean())
    append(path, {**row, "accuracy": accuracy, "right": packed(marks.numpy())})
    print(*(f"{name} {row[name]}" for name in KEY), f"{accuracy:.2%}", flush=True)


def measured(path: Path) -> set[tuple[Any, ...]]:
    """The keys of the rows that are there."""
    return {tuple(row[name] for name in KEY) for row in raw(path)}


def packed(marks: np.ndarray[Any, np.dtype[np.bool_]]) -> str:
    return base64.b64encode(np.packbits(marks).tobytes()).decode()


def marks_of(row: Mapping[str, Any]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.unpackbits(np.frombuffer(base64.b64decode(row["right"]), np.uint8), count=10_000)
