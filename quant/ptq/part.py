"""A part of a network, run with other weights while their rounding is learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn
from torch.func import functional_call

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.networks.nested import mapped, tensors
from emqlang.quant.ptq.capture import Arguments, guard


@dataclass(frozen=True)
class Part:
    """A module in float32, or in its own precision where its code works in no other.

    dtype  of the weights and floating-point arguments that it is given; None for those as they are
    fresh  what to do with arguments before each call
    """

    module: nn.Module
    dtype: torch.dtype | None
    fresh: Callable[[Arguments], Arguments]

    @classmethod
    def of(cls, module: nn.Module, arguments: Arguments) -> Part:
        """The part, tried on these arguments. Raises E308 where its code fails."""
        own = {leaf.dtype for leaf in chain(module.parameters(), module.buffers())}
        if not any(dtype.is_floating_point and dtype != torch.float32 for dtype in own):
            return cls(module, None, guard(module, arguments))
        wide = deepcopy(module).float()
        try:
            return cls(wide, torch.float32, guard(wide, _cast(arguments, torch.float32)))
        except EmqError:  # its code names a precision
            dtype = next(leaf.dtype for leaf in module.parameters() if leaf.is_floating_point())
            return cls(module, dtype, guard(module, arguments))

    def __call__(self, weights: Mapping[str, Tensor], arguments: Arguments) -> Tensor:
        """The first tensor that it returns, in float32."""
        given = dict(weights)
        if self.dtype is not None:
            given = {name: weight.to(self.dtype) for name, weight in given.items()}
            arguments = _cast(arguments, self.dtype)
        args, kwargs = self.fresh(arguments)
        return tensors(functional_call(self.module, given, args, kwargs))[0].float()


def _cast(arguments: Arguments, dtype: torch.dtype) -> Arguments:
    cast: Arguments = mapped(
        lambda leaf: leaf.to(dtype) if leaf.is_floating_point() else leaf, arguments
    )
    return cast
