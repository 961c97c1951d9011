"""A network of the user's own in a file, as `--model`, `--data` and `--test` name it."""

from __future__ import annotations

from pathlib import Path

import pytest

OWN = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2), nn.ReLU(), nn.Conv2d(4, 4, 3, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 10),
    )

def partly():  # a product outside the known layers, which stays in float
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.bare = build(), nn.Parameter(torch.randn(10, 10))
        def forward(self, x):
            return self.body(x) @ self.bare
    torch.manual_seed(0)
    return Net()

def with_example():
    return build(), torch.randn(1, 1, 28, 28)

def batches(count, seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 1, 28, 28, generator=generator)
    return [(images, torch.randint(10, (count,), generator=generator))]

def data():
    return batches(64, 0)

def test():
    return batches(100, 1)

def read():
    raise AssertionError("the data was read")
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that holds it, in which the command runs."""
    (tmp_path / "my.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return tmp_path
