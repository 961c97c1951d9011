"""Weights that torch's wrappers compute before each forward, made plain parameters.

Parametrizations, and the older hooks of weight norm, spectral norm and pruning: in eval mode each
computes the same weight every time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from emqlang.quant.user_code import foreign

Hook = WeightNorm | SpectralNorm | prune.BasePruningMethod
# Computed from the same parameters: these, held so that they keep their identity, and the result.
Shared = dict[tuple[int, ...], tuple[Sequence[nn.Parameter], nn.Parameter]]


def make_plain(model: nn.Module) -> None:
    """Every computed weight becomes a parameter with its current value, in place.

    Raises E308 where the code that computes it fails.
    """
    shared: Shared = {}
    for name, module in model.named_modules():
        unhooks = list(_hooks(module))
        if not unhooks and not parametrize.is_parametrized(module):
            continue
        with foreign("E308", f"computing the weight of '{name}'", seed=0), torch.no_grad():
            for unhook in unhooks:
                unhook()
            if parametrize.is_parametrized(module):
                _unparametrize(module, shared)


def _hooks(module: nn.Module) -> Iterator[Callable[[], None]]:
    """What takes each older hook off, and leaves its weight."""
    for key, hook in tuple(module._forward_pre_hooks.items()):
        if isinstance(hook, Hook):
            yield lambda key=key, hook=hook: _unhook(module, key, hook)  # type: ignore[misc]


def _unhook(module: nn.Module, key: int, hook: Hook) -> None:
    hook.remove(module)
    del module._forward_pre_hooks[key]
    name = hook._tensor_name if isinstance(hook, prune.BasePruningMethod) else hook.name
    for hooks in (module._state_dict_hooks, module._load_state_dict_pre_hooks):
        for other, each in tuple(hooks.items()):
            if getattr(getattr(each, "fn", None), "name", None) == name:
                del hooks[other]


def _unparametrize(module: nn.Module, shared: Shared) -> None:
    """Torch's own way sets the value in place, in a tensor that other modules may share, and takes
    the tensor's property off a class that the network which was copied has too.
    """
    lists = dict(module.parametrizations.items())  # type: ignore[union-attr,operator]
    values = {name: getattr(module, name).detach().clone() for name in lists}
    module.__class__ = type(module).__bases__[0]
    del module.parametrizations
    for name, value in values.items():
        originals = tuple(lists[name].parameters(recurse=False))
        if not originals:
            module.register_buffer(name, value)
            continue
        key = tuple(map(id, originals))
        if key not in shared or not torch.equal(shared[key][1], value):
            shared[key] = originals, nn.Parameter(value, value.is_floating_point())
        module.register_parameter(name, shared[key][1])


def copied(model: nn.Module) -> nn.Module:
    """A copy with no graph behind its tensors, which TorchScript's parts would have."""
    with torch.no_grad():
        return deepcopy(model, dict[int, Any](leaves(model)))


def leaves(model: nn.Module) -> dict[int, Tensor]:
    """A copy for every tensor that modules hold though a graph made it, which torch cannot copy."""
    held = (value for module in model.modules() for value in vars(module).values())
    return {
        id(value): value.detach().clone()
        for value in held
        if isinstance(value, Tensor) and not value.is_leaf
    }
