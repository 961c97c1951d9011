"""The user's own loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from emqlang.grammar.diagnostics import error
from emqlang.quant.networks.nested import mapped
from emqlang.quant.user_code import foreign

Own = Callable[[Any, Any], Tensor]  # of the outputs and the batch


def own_loss(function: Own, outputs: Any, batch: Any, rows: int) -> Tensor:
    """The mean over the rows, which the user's loss is, or has one value for each of.

    Raises E304 for one that fails or is no such number.
    """
    with foreign("E304", "the loss", seed=0):
        loss = function(outputs, mapped(torch.clone, batch))
    if not _are_losses(loss, rows):
        kind = type(loss).__name__
        if isinstance(loss, Tensor):
            kind = f"{str(loss.dtype).removeprefix('torch.')} {tuple(loss.shape)}"
        help = "it returns a floating-point tensor: the mean over the rows, or one for each row"
        raise error("E304", f"the loss returned {kind}", help)
    mean: Tensor = loss.mean()
    return mean


def _are_losses(loss: Any, rows: int) -> bool:
    """Whether this is one floating-point number, or one for each row."""
    return (
        isinstance(loss, Tensor)
        and loss.is_floating_point()
        and (loss.numel() == 1 or loss.shape == (rows,))
    )
