"""The units of reconstruction: residual blocks where the network has them, single layers elsewhere.

A block is found by what it does, not by its name: its own forward adds two activations, in at least
one instance of its type (BasicBlock, Bottleneck, InvertedResidual, transformer blocks, and whatever
else is built like them).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from emqlang.quant.networks.batches import pass_through
from emqlang.quant.networks.hooks import listening
from emqlang.quant.networks.layers import Layer
from emqlang.quant.networks.signature import Forward

LARGEST = 12  # layers in one block; a larger one is taken apart
ADDITIONS = (torch.add, Tensor.add, Tensor.add_, Tensor.__add__, Tensor.__iadd__, Tensor.__radd__)


@dataclass(frozen=True)
class Unit:
    """A module whose layers are rounded together, against its own float output.

    calls  in the first forward of the network that calls it
    """

    name: str
    layers: tuple[str, ...]
    calls: int


def find_units(
    module: nn.Module,
    layers: Sequence[Layer],
    batches: Iterable[Any],
    forward: Forward,
    *,
    blocks: bool,
) -> tuple[Unit, ...]:
    """All layers in units, in the order in which forwards of these batches run them.

    batches  which together run every layer
    blocks   False for a unit of its own for every layer
    """
    modules = {name: part for name, part in module.named_modules() if _takes_hooks(part)}
    names = [layer.name for layer in layers]
    calls, adding = dict[str, int](), set[str]()
    for batch in batches:
        watch = _Watch(modules, names)
        with torch.no_grad(), watch.entering(), watch:
            pass_through(module, batch, forward)
        calls |= {name: count for name, count in watch.calls.items() if name not in calls}
        adding |= watch.adding
    kinds = {type(modules[name]) for name in adding} if blocks else set()
    units: dict[str, tuple[str, ...]] = {}
    for name in modules:  # outer modules come before the inner ones
        inside = tuple(layer for layer in names if layer == name or layer.startswith(f"{name}."))
        taken = any(name.startswith(f"{outer}.") for outer in units)
        block = name and type(modules[name]) in kinds and len(inside) <= LARGEST
        if inside and not taken and (name in names or (block and name in calls)):
            units[name] = inside
    ordered = sorted(units, key=list(calls).index)
    return tuple(Unit(name, units[name], calls[name]) for name in ordered)


class _Watch(TorchFunctionMode):
    """Notes which modules run, and which that hold layers add two activations of one shape."""

    def __init__(self, modules: dict[str, nn.Module], layers: Sequence[str]) -> None:
        super().__init__()
        self.modules = modules
        self.holding = {""}
        self.holding |= {n for n in modules if any(layer.startswith(f"{n}.") for layer in layers)}
        self.calls: dict[str, int] = {}
        self.adding: set[str] = set()
        self.stack: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        activations = func in ADDITIONS and len(args) == 2 and all(map(_is_activation, args))
        if activations and args[0].shape == args[1].shape:
            self.adding.add(next((n for n in reversed(self.stack) if n in self.holding), ""))
        return func(*args, **(kwargs or {}))

    def entering(self) -> AbstractContextManager[None]:
        return listening(self.modules.items(), on_input=self._enter, on_output=self._leave)

    def _enter(self, name: str, args: Any, kwargs: Any) -> None:
        self.calls[name] = self.calls.get(name, 0) + 1
        self.stack.append(name)

    def _leave(self, name: str, output: Any) -> None:
        self.stack.pop()


def _takes_hooks(module: nn.Module) -> bool:
    return not isinstance(module, torch.jit.ScriptModule)


def _is_activation(value: Any) -> bool:
    return isinstance(value, Tensor) and not isinstance(value, nn.Parameter)
