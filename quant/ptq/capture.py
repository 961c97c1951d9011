"""What one module of a network is given, and what it returns, for every calibration batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from emqlang.quant.networks.batches import Forward, pass_through
from emqlang.quant.networks.hooks import listening
from emqlang.quant.networks.nested import mapped, tensors
from emqlang.quant.user_code import Enough, foreign

Arguments = tuple[tuple[Any, ...], dict[str, Any]]  # positional and named ones of one call


def capture_inputs(
    model: nn.Module, part: nn.Module, calls: int, batches: Sequence[Any], forward: Forward
) -> list[Arguments]:
    """The arguments of each of the part's `calls` per forward of the model, for all batches.

    Those of several calls are copies: what runs in between may write to them in place.
    """
    seen: list[Arguments] = []

    def keep(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append((args, kwargs) if calls == 1 else copied((args, kwargs)))
        if len(seen) % calls == 0:
            raise Enough

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
            raise Enough

    with listening([("", part)], on_output=keep):
        _run(model, batches, forward)
    return seen


def copied(arguments: Arguments) -> Arguments:
    """Arguments that may be written to."""
    copies: Arguments = mapped(torch.clone, arguments)
    return copies


def guard(part: nn.Module, arguments: Arguments) -> Callable[[Arguments], Arguments]:
    """What to do with arguments before each call of the part: copy them if it writes to them."""
    args, kwargs = copied(arguments)
    before = [leaf._version for leaf in tensors((args, kwargs))]
    with torch.no_grad(), foreign("E308", f"the forward of {type(part).__name__}", seed=0):
        part(*args, **kwargs)
    writes = [leaf._version for leaf in tensors((args, kwargs))] != before
    return copied if writes else lambda arguments: arguments


def _run(model: nn.Module, batches: Sequence[Any], forward: Forward) -> None:
    with torch.no_grad():
        for batch in batches:
            with suppress(Enough):
                pass_through(model, batch, forward)
