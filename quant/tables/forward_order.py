"""In which order a forward reads its layers' weights, and which parts run meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from emqlang.quant.networks.batches import pass_through
from emqlang.quant.networks.hooks import listening
from emqlang.quant.networks.layers import Layer
from emqlang.quant.networks.nested import tensors
from emqlang.quant.networks.signature import Forward


@dataclass(frozen=True)
class Part:
    """A module that one forward runs once and that returns one tensor.

    first    how many layers' weights have been read when it begins
    last     how many have been read when it returns
    written  whether what follows writes to its output in place
    """

    name: str
    first: int
    last: int
    written: bool


@dataclass(frozen=True, eq=False)
class ForwardOrder:
    """What one forward of a network runs.

    layers  by index, in the order in which their weights are first read
    latest  layer -> how many had been read when its weight was read for the last time
    chains  sequential containers that run once: each child sees only what the one before returned
    """

    module: nn.Module
    layers: tuple[int, ...]
    latest: Mapping[int, int]
    parts: Mapping[str, Part]
    chains: frozenset[str]

    @classmethod
    def of(
        cls, module: nn.Module, layers: Sequence[Layer], batch: Any, forward: Forward
    ) -> ForwardOrder:
        """The order observed on one batch."""
        watch = _Watch(module, layers)
        with torch.no_grad(), watch.entering(), watch:
            pass_through(module, batch, forward)
        once = {name: runs[0] for name, runs in watch.runs.items() if len(runs) == 1}
        parts = {
            name: Part(name, run.first, run.last, run.output._version != run.version)
            for name, run in once.items()
            if run.output is not None and not watch.hooked(name)
        }
        plain = nn.Sequential.forward
        chains = {name for name in once if type(module.get_submodule(name)).forward is plain}
        return cls(module, tuple(watch.order), watch.latest, parts, frozenset(chains))

    def frontier(self, known: Callable[[Part], bool]) -> tuple[list[str], list[str]]:
        """The outermost known parts that hold layers; and parts that need not run before those."""
        reused: list[str] = []
        skipped: list[str] = []
        stack = [""]
        while stack:
            outer = stack.pop()
            names = [name for name, _ in self.module.get_submodule(outer).named_children()]
            children = [f"{outer}.{name}".lstrip(".") for name in names]
            ready = [self._holds_layers(name) and known(self.parts[name]) for name in children]
            start = max((place for place, is_ready in enumerate(ready, 1) if is_ready), default=0)
            if outer not in self.chains or not all(name in self.parts for name in children[:start]):
                start = 0
            skipped += children[: max(0, start - 1)]
            reused += children[max(0, start - 1) : start]
            for name, is_ready in zip(children[start:], ready[start:], strict=True):
                if not is_ready:
                    stack.append(name)
                elif self.parts[name].last > self.parts[name].first:
                    reused.append(name)
        return reused, skipped

    def _holds_layers(self, name: str) -> bool:
        return name in self.parts and self.parts[name].last > 0


@dataclass
class _Run:
    """One run of a module: layers read before and after, and its output with its version then."""

    first: int
    last: int = 0
    output: Tensor | None = None
    version: int = 0


class _Watch(TorchFunctionMode):
    """Notes when weights are first read, by whatever op, and which modules run in between."""

    def __init__(self, module: nn.Module, layers: Sequence[Layer]) -> None:
        super().__init__()
        self.modules = dict(module.named_modules())
        self.weights = {id(self.modules[layer.name].weight): layer.index for layer in layers}
        self.order: list[int] = []
        self.latest: dict[int, int] = {}
        self.runs: dict[str, list[_Run]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for leaf in tensors((args, kwargs or {})):
            index = self.weights.get(id(leaf))
            if index is not None:
                self.latest[index] = len(self.order)
                if index not in self.order:
                    self.order.append(index)
        return func(*args, **(kwargs or {}))

    @cached_property
    def _users_hooks(self) -> frozenset[str]:
        return frozenset(
            name
            for name, part in self.modules.items()
            if part._forward_hooks or part._forward_pre_hooks
        )

    def hooked(self, name: str) -> bool:
        """Whether the module has to run: a hook is on it or inside it, or it is the network."""
        return not name or any(other and inside(other, name) for other in self._users_hooks)

    def entering(self) -> AbstractContextManager[None]:
        assert self._users_hooks is not None  # looked for before the hooks below are there
        return listening(self.modules.items(), on_input=self._enter, on_output=self._leave)

    def _enter(self, name: str, args: Any, kwargs: Any) -> None:
        self.runs.setdefault(name, []).append(_Run(len(self.order)))

    def _leave(self, name: str, output: Any) -> None:
        run = self.runs[name][-1]
        run.last = len(self.order)
        if isinstance(output, Tensor):
            run.output, run.version = output, output._version


def inside(name: str, outer: str) -> bool:
    """Whether a module is another one, or in it, by their names."""
    return name == outer or name.startswith(f"{outer}.")
