"""A network and images so small that a table of them takes a second: what tables are tested on.

A forward takes NAP seconds longer, where the environment has that: time to interrupt a build.
"""

from __future__ import annotations

from pathlib import Path

SOURCE = """
import os
import time

import torch
from torch import nn


class Network(nn.Sequential):
    def forward(self, x):
        time.sleep(float(os.environ.get("NAP", 0)))
        return super().forward(x)


def network():
    torch.manual_seed(3)
    net = Network(
        nn.Conv2d(1, 6, 3, stride=2), nn.ReLU(),
        nn.Conv2d(6, 8, 3), nn.ReLU(),
        nn.Conv2d(8, 8, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10),
    )
    net.input_shape = (1, 12, 12)
    with torch.no_grad():  # an untrained network answers all images alike, but for their mean
        net[-1].bias -= net(torch.randn(500, 1, 12, 12)).mean(0)
    return net


def batches(seed, count=96):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 1, 12, 12, generator=generator)
    with torch.no_grad():
        labels = network()(images).argmax(1)
    flipped = torch.rand(count, generator=generator) < 0.2
    return [(images, torch.where(flipped, (labels + 1) % 10, labels))]


def calibration():
    return batches(0)


def other():
    return batches(1)


def test():
    return batches(2, 250)
"""


def options(folder: Path, rows: int = 12) -> tuple[str, ...]:
    """`emqlang bench build` options for a table of that network."""
    path = folder / "small.py"
    path.write_text(SOURCE)
    own = ("--model", f"{path}:network", "--data", f"{path}:calibration", "--test", f"{path}:test")
    return (*own, "--rows", str(rows), "--calib-images", "64")
