"""Networks as people have them, whose batches are no images: one file that names find them in."""

from __future__ import annotations

from pathlib import Path

import pytest

REAL = """
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


class Encoder(nn.Module):  # ids and mask to a dict, as encoders of texts have it
    def __init__(self):
        super().__init__()
        self.emb, self.a, self.head = nn.Embedding(50, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, input_ids, attention_mask):
        hidden = torch.tanh(self.a(self.emb(input_ids))) * attention_mask[..., None]
        pooled = hidden.sum(1) / attention_mask.sum(1, keepdim=True)
        return {"logits": self.head(pooled), "hidden_states": hidden}


def texts():  # of several lengths
    for number, length in enumerate((5, 7, 5)):
        g = drawn(number)
        mask = torch.ones(8, length, dtype=torch.int64)
        mask[:3, -2:] = 0
        yield {
            "input_ids": torch.randint(50, (8, length), generator=g),
            "attention_mask": mask,
            "labels": torch.randint(3, (8,), generator=g),
        }


class Detector(nn.Module):  # two inputs to a dict of class and box maps
    def __init__(self):
        super().__init__()
        self.stem, self.side = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(4, 6)
        self.cls, self.box = nn.Conv2d(6, 5, 1), nn.Conv2d(6, 4, 1)

    def forward(self, image, meta):
        h = torch.tanh(self.stem(image) + self.side(meta)[..., None, None])
        return {"box": self.box(h), "cls": self.cls(h)}


def scenes():
    g = drawn()
    for _ in range(4):
        yield {
            "image": torch.randn(6, 3, 8, 8, generator=g),
            "meta": torch.randn(6, 4, generator=g),
            "boxes": torch.randn(6, 4, 8, 8, generator=g),
            "classes": torch.randint(5, (6, 8, 8), generator=g),
        }


def both(outputs, batch):
    assert set(outputs) == {"box", "cls"} and set(batch) == {"image", "meta", "boxes", "classes"}
    classes = F.cross_entropy(outputs["cls"], batch["classes"])
    return classes + F.l1_loss(outputs["box"], batch["boxes"])


def look(model, batch):
    return model(batch["image"], batch["meta"])


class Tabular(nn.Module):  # numbers, and categories by their number
    def __init__(self):
        super().__init__()
        self.kinds, self.a, self.o = nn.Embedding(12, 4), nn.Linear(9, 8), nn.Linear(8, 2)

    def forward(self, numbers, kinds):
        return self.o(torch.relu(self.a(torch.cat([numbers, self.kinds(kinds)], 1))))


def table():
    g = drawn()
    for _ in range(3):
        numbers = torch.randn(10, 5, generator=g)
        yield numbers, torch.randint(12, (10,), generator=g), torch.randint(2, (10,), generator=g)


class Regression(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.o = nn.Linear(6, 8), nn.Linear(8, 1)

    def forward(self, x):
        return self.o(torch.tanh(self.a(x)))


def measured():
    g = drawn()
    for _ in range(3):
        x = torch.randn(10, 6, generator=g)
        yield x, x.sum(1, keepdim=True)


class Decoder(nn.Module):  # (N, T) labels that are its own ids
    def __init__(self):
        super().__init__()
        self.emb, self.a, self.o = nn.Embedding(20, 8), nn.Linear(8, 8), nn.Linear(8, 20)

    def forward(self, input_ids):
        return self.o(torch.tanh(self.a(self.emb(input_ids)).cumsum(1)))


def sentences():
    g = drawn()
    for _ in range(3):
        ids = torch.randint(20, (8, 6), generator=g)
        yield {"input_ids": ids, "labels": ids}


class Bytes(nn.Module):  # images as they are stored
    def __init__(self):
        super().__init__()
        self.c, self.o = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

    def forward(self, x):
        return self.o(torch.relu(self.c(x.float() / 255)).mean((2, 3)))


def pixels():
    g = drawn()
    for _ in range(3):
        x = torch.randint(256, (10, 3, 8, 8), generator=g).to(torch.uint8)
        yield x, torch.randint(3, (10,), generator=g)


def halves():
    for x, y in measured():
        yield x.half(), (y[:, 0] > 0).long()


def doubles():
    for x, y in measured():
        yield x.double(), (y[:, 0] > 0).long()


class Classes(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.o = nn.Linear(6, 8), nn.Linear(8, 2)

    def forward(self, x):
        return self.o(torch.relu(self.a(x)))


def seeded(kind):
    torch.manual_seed(0)
    return kind()


def encoder(): return seeded(Encoder)
def detector(): return seeded(Detector)
def tabular(): return seeded(Tabular)
def regression(): return seeded(Regression)
def decoder(): return seeded(Decoder)
def bytes_(): return seeded(Bytes)
def half(): return seeded(Classes).half()
def double(): return seeded(Classes).double()
"""
# network -> its data, and the options that it needs
KINDS = {
    "encoder": ("texts", ()),
    "detector": ("scenes", ("--loss", "real.py:both", "--forward", "real.py:look")),
    "tabular": ("table", ()),
    "regression": ("measured", ()),
    "decoder": ("sentences", ()),
    "bytes_": ("pixels", ()),
    "half": ("halves", ()),
    "double": ("doubles", ()),
}


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that holds them in `real.py`, in which the command runs."""
    (tmp_path / "real.py").write_text(REAL)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def words(kind: str) -> tuple[str, ...]:
    """The options that name a network and its data."""
    data, options = KINDS[kind]
    return ("--model", f"real.py:{kind}", "--data", f"real.py:{data}", *options, "--no-cache")
