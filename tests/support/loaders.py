"""Images for commands under test: a user's own loader, and options that make quantization fast."""

from __future__ import annotations

from pathlib import Path

import pytest

LOADER = """
import torch

def few():  # test images with their labels
    from emqlang.quant.data.datasets import load_data
    from emqlang.quant.data.images import FASHION_MNIST

    return load_data("fashion-mnist", FASHION_MNIST, 10, count=400, split="test").batches()

def images():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(32, 1, 28, 28, generator=generator) for _ in range(3)]

def broken():
    yield torch.full((8, 1, 28, 28), float("nan"))
"""
Quick = tuple[str, ...]


@pytest.fixture
def quick(tmp_path: Path) -> Quick:
    """Few images to calibrate on, and few to test on."""
    path = tmp_path / "own.py"
    path.write_text(LOADER)
    return ("--calib-images", "64", "--no-check", "--test", f"{path}:few")
