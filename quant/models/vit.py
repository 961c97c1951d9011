"""A small vision transformer: patches, pre-norm blocks, the mean over patches, one linear layer.

Source: arXiv 2010.11929; the mean in place of a class token: arXiv 2205.01580.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

DEVIATION: Final = 0.02  # of initial positions


class Attention(nn.Module):
    """Self-attention with heads. (N, patches, width) to the same shape.

    Plain products and a softmax: the fused kernels have no second derivative.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (self._split(part(x)) for part in (self.query, self.key, self.value))
        scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
        mixed = scores.softmax(-1) @ value
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out

    def _split(self, x: Tensor) -> Tensor:
        """(N, patches, width) to (N, heads, patches, width of a head)."""
        count, patches, width = x.shape
        return x.reshape(count, patches, self.heads, width // self.heads).transpose(1, 2)


class Block(nn.Module):
    """Attention and two linear layers, each behind a norm and beside a shortcut."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class VisionTransformer(nn.Module):
    """(N, channels, size, size) images to (N, classes) logits.

    `tied_layers`: query, key and value of a block share their bits, as one fused product has one
    width.
    """

    def __init__(
        self,
        *,
        size: int,
        patch: int,
        width: int,
        depth: int,
        heads: int,
        hidden: int,
        channels: int = 3,
        classes: int = 1000,
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(channels, width, patch, patch)
        self.positions = nn.Parameter(torch.empty((size // patch) ** 2, width))
        self.blocks = nn.Sequential(*(Block(width, heads, hidden) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, classes)
        self.tied_layers = tuple(
            tuple(f"blocks.{i}.attention.{part}" for part in ("query", "key", "value"))
            for i in range(depth)
        )
        nn.init.trunc_normal_(self.positions, std=DEVIATION)
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        x = self.norm(self.blocks(x)).mean(1)
        logits: Tensor = self.classifier(x)
        return logits


def _initialise(net: nn.Module) -> None:
    """Weights by Glorot, so that signals keep their size also at small widths; zero biases."""
    for module in net.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(module.weight.flatten(1))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
