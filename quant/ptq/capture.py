"""What one module of a network is given, and what it returns, for every calibration batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from emqlang.quant.networks.batches import pass_through
from emqlang.quant.networks.hooks import listening
from emqlang.quant.networks.nested import mapped, tensors
from emqlang.quant.networks.signature import Forward
from emqlang.quant.user_code import Enough, foreign

Arguments = tuple[tuple[Any, ...], dict[str, Any]]  # positional and named ones of one call
Shapes = tuple[tuple[int, ...], ...]


def capture_inputs(
    model: nn.Module, part: nn.Module, calls: int | None, batches: Sequence[Any], forward: Forward
) -> list[Arguments]:
    """The arguments of each of the part's `calls` per forward of the model, for all batches.

    Those of several calls are copies: what runs in between may write to them in place.

    calls  None for however many there are in each forward
    """
    seen: list[Arguments] = []

    def keep(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append((args, kwargs) if calls == 1 else copied((args, kwargs)))

    _run(model, part, calls, batches, forward, seen, on_input=keep)
    return seen


def capture_outputs(
    model: nn.Module, part: nn.Module, calls: int | None, batches: Sequence[Any], forward: Forward
) -> list[Tensor]:
    """The first tensor that each of the part's `calls` returns, for all batches in order."""
    return [output for _, output in capture_calls(model, part, calls, batches, forward)]


def capture_calls(
    model: nn.Module, part: nn.Module, calls: int | None, batches: Sequence[Any], forward: Forward
) -> list[tuple[Shapes, Tensor]]:
    """The shapes of what each of the part's `calls` is given, and the first tensor it returns."""
    given: list[Shapes] = []
    seen: list[tuple[Shapes, Tensor]] = []

    def note(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given.append(shapes((args, kwargs)))

    def keep(name: str, output: Any) -> None:
        leaf = tensors(output)[0]
        seen.append((given.pop(), leaf if calls == 1 else leaf.clone()))

    _run(model, part, calls, batches, forward, seen, on_input=note, on_output=keep)
    return seen


def shapes(arguments: Arguments) -> Shapes:
    """Those of all tensors among the arguments."""
    return tuple(tuple(leaf.shape) for leaf in tensors(arguments))


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


def _run(
    model: nn.Module,
    part: nn.Module,
    calls: int | None,
    batches: Sequence[Any],
    forward: Forward,
    seen: Sequence[Any],
    **hooks: Callable[..., None],
) -> None:
    """A forward for each batch, which ends after so many calls of the part."""
    before = 0

    def stopping(hook: Callable[..., None]) -> Callable[..., None]:
        def stop(*given: Any) -> None:
            hook(*given)
            if len(seen) - before == calls:
                raise Enough

        return stop

    watched = {name: stopping(hook) for name, hook in hooks.items()}
    with torch.no_grad(), listening([("", part)], **watched):
        for batch in batches:
            before = len(seen)
            with suppress(Enough):
                pass_through(model, batch, forward)
