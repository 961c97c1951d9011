"""Small transformers as users bring them: a ViT with a fused qkv layer, and a language model."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH, HEADS = 16, 4
TOKENS, LENGTH = 20, 6  # the language model's vocabulary, and its longest text


class Attention(nn.Module):
    """Self-attention with one linear layer for query, key and value."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        n, length, _ = x.shape
        q, k, v = self.qkv(x).view(n, length, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        heads = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        y: Tensor = self.proj(heads.transpose(1, 2).flatten(2))
        return y


class Block(nn.Module):
    """Norm first, attention and MLP, a shortcut around each."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention = Attention(causal)
        self.mlp = nn.Sequential(
            nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        y: Tensor = x + self.mlp(self.norm2(x))
        return y


class FusedViT(nn.Module):
    """A vision transformer with an attention of its own; its layers are tied. (N, 3, 8, 8)"""

    tied_layers = tuple(
        (f"blocks.{i}.attention.qkv", f"blocks.{i}.attention.proj") for i in range(2)
    )

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 4, 4)
        self.position = nn.Parameter(torch.randn(1, 4, WIDTH))
        self.blocks = nn.Sequential(Block(causal=False), Block(causal=False))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.position
        logits: Tensor = self.head(self.norm(self.blocks(x)).mean(1))
        return logits


class Decoder(nn.Module):
    """A language model of two blocks; the embedding is the head's weight too.

    Tokens (N, L) to logits (N, L, TOKENS)
    """

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(TOKENS, WIDTH)
        self.position = nn.Parameter(torch.randn(LENGTH, WIDTH))
        self.blocks = nn.ModuleList([Block(causal=True), Block(causal=True)])
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, TOKENS, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens) + self.position[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x))
        return logits


def texts(count: int = 2, seed: int = 1) -> Tensor:
    """Random tokens (count, LENGTH)."""
    return torch.randint(TOKENS, (count, LENGTH), generator=torch.Generator().manual_seed(seed))
