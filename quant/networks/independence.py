"""Whether a network answers each row by itself, whatever other rows are in the batch.

A norm in training mode or an attention over the batch does not, nor does a forward that branches on
how many rows there are. Statistics are taken row by row, and figures batch by batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, nn

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.networks.answers import answer
from emqlang.quant.networks.batches import listed, rows, run, slice_rows
from emqlang.quant.networks.nested import mapped
from emqlang.quant.networks.signature import Forward

TOLERANCE: Final = 1e-2  # of the largest output: kernels for few rows round differently


def variation(steady: bool, model: nn.Module, example: Any, forward: Forward) -> str:
    """What the answers of a network change with, as a code: each run, other rows, or nothing."""
    if not steady:
        return "W614"
    return "" if _independent(model, example, forward) else "W619"


@torch.no_grad()
def _independent(model: nn.Module, example: Any, forward: Forward) -> bool:
    """Whether the first row of the example is answered alike alone and beside another.

    What cannot be run, or has no scores for each row, tells nothing.
    """
    if listed(example):  # images of any size
        return True
    row = slice_rows(example, 0, 1)
    other = _first_answer(model, _beside(row, _other), forward)
    alone = _first_answer(model, row, forward)
    if alone is None:  # as of a norm over the batch
        alone = _first_answer(model, _beside(row, torch.clone), forward)
    return alone is None or other is None or _alike(alone, other)


def _beside(row: Any, made: Callable[[Tensor], Tensor]) -> Any:
    """A batch of two: the row, and what is made of it."""
    return mapped(
        lambda leaf: torch.cat([leaf, made(leaf)]) if leaf.ndim and len(leaf) == 1 else leaf, row
    )


def _other(leaf: Tensor) -> Tensor:
    """Another row of the same kind: the values in reverse order, and of x, 1 - x."""
    if leaf.layout != torch.strided:
        return leaf
    turned = leaf.flip(tuple(range(1, leaf.ndim)))
    return 1 - turned if leaf.is_floating_point() or leaf.is_complex() else turned


def _first_answer(model: nn.Module, batch: Any, forward: Forward) -> Tensor | None:
    """The scores of the first row; None where there are none."""
    size = rows(batch)
    try:
        scores = answer(run(model, batch, forward), size).scores
    except EmqError:
        return None
    return scores[0] if scores.ndim and len(scores) == size else None


def _alike(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool((a - b).abs().max() <= TOLERANCE * b.abs().max())
