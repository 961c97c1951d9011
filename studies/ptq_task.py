"""The task that `ptq.py` and `ptq_brevitas.py` share: the network, the images of each calibration draw, and the ledger.

The network is `resnet18-fmnist` as shipped, batch norms folded. A draw is 1,024 of the 60,000 training images, chosen by its
seed. A row is one line of JSON; a run that is interrupted goes on with the rows that are missing.
"""

from __future__ import annotations

import base64
import json
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from emqlang.quant.data.datasets import load_data
from emqlang.quant.data.images import FASHION_MNIST
from emqlang.quant.models.training import DEBIAN_DIR, read_fashion_mnist
from emqlang.quant.networks.network import Network, load

MODEL = "resnet18-fmnist"
CALIBRATION, BATCH = 1024, 32
DRAWS = (0, 1, 2)
RESULTS = Path(__file__).parent / "results"
KEY = ("side", "method", "bits", "iterations", "draw")


def arguments(description: str | None) -> Namespace:
    parser = ArgumentParser(description=description)
    parser.add_argument(
        "--data", type=Path, default=DEBIAN_DIR, help="folder of Fashion-MNIST's four .gz files"
    )
    parser.add_argument("--out", type=Path, default=RESULTS / "ptq.jsonl")
    parser.add_argument("--iterations", type=int, default=1000, help="of learned rounding, a unit")
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
    chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(draw))[
        :CALIBRATION
    ]
    return list(torch.split(FASHION_MNIST.normalise(images[chosen, None]), BATCH))


@cache
def test() -> tuple[Tensor, Tensor]:
    images, labels = load_data("fashion-mnist", FASHION_MNIST, 10, split="test").tensors()
    assert labels is not None
    return images, labels


@torch.inference_mode()
def right(module: nn.Module) -> Tensor:
    """Which test images a network gets right."""
    images, labels = test()
    found = [module(part).argmax(1) for part in torch.split(images, 250)]
    return torch.cat(found) == labels


def record(path: Path, row: Mapping[str, Any], marks: Tensor) -> None:
    """Add a finished row."""
    packed = base64.b64encode(np.packbits(marks.numpy()).tobytes()).decode()
    line = json.dumps({**row, "accuracy": float(marks.double().mean()), "right": packed})
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())
    print(
        *(f"{name} {row[name]}" for name in KEY), f"{float(marks.double().mean()):.2%}", flush=True
    )


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a ledger; one that a crash cut short is left out."""
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue


def done(path: Path) -> set[tuple[Any, ...]]:
    return {tuple(row[name] for name in KEY) for row in rows(path)}


def marks_of(row: Mapping[str, Any]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.unpackbits(np.frombuffer(base64.b64decode(row["right"]), np.uint8), count=10_000)
