"""What one module of a network is given, and what it returns, for every calibration batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from emqlang.quant.networks.batches import pass_through
from emqlang.quant.networks.hooks import listening
from emqlang.quant.networks.tracing import Forward, tensors

Given = tuple[tuple[Any, ...], dict[str, Any]]  # positional and named arguments of one call


class _Enough(BaseException):
    """The rest of the forward is not needed. No Exception, which would be taken for a fault of the network."""


def capture_inputs(
    model: nn.Module, part: nn.Module, calls: int, batches: Sequence[Any], forward: Forward
) -> list[Given]:
    """The arguments of each of the part's `calls` in a forward of the model, for all batches in order.

    Those of several calls are copies: what runs in between may write to them in place.
    """
    seen: list[Given] = []

    def keep(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append((args, kwargs) if calls == 1 else copied((args, kwargs)))
        if len(seen) % calls == 0:
            raise _Enough

    with listening([("", part)], on_input=keep):
        _run(model, batches, forward)
    return seen


def capture_outputs(
    model: nn.Module, part: nn.Module, calls: int, batches: Sequence[Any], forward: Forward
) -> list[Tensor]:
    """The first tensor that each of the part's `calls` returns, for all batches in order."""
    seen: list[Tensor] = []

    def keep(name: str, output: Any) -> None:
        leaf = tensors(output)[0]
        seen.append(leaf if calls == 1 else leaf.clone())
        if len(seen) % calls == 0:
            raise _Enough

    with listening([("", part)], on_output=keep):
        _run(model, batches, forward)
    return seen


def copied(given: Given) -> Given:
    """Arguments that may be written to."""
    copies: Given = tree_map(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, given)
    return copies


def guard(part: nn.Module, given: Given) -> Callable[[Given], Given]:
    """What to do with arguments before the part is called with them again and again: copies if it writes to them in place."""
    args, kwargs = copied(given)
    before = [leaf._version for leaf in tensors((args, kwargs))]
    with torch.no_grad():
        part(*args, **kwargs)
    writes = [leaf._version for leaf in tensors((args, kwargs))] != before
    return copied if writes else lambda given: given


def _run(model: nn.Module, batches: Sequence[Any], forward: Forward) -> None:
    with torch.no_grad():
        for batch in batches:
            with suppress(_Enough):
                pass_through(model, batch, forward)
