"""Outputs of a network's parts, kept from one configuration to the next: what nothing has changed is not run again.

A part is a module that one forward runs once and that returns one tensor. Its output depends on the weights that have been
read by the time it returns, so it comes back as long as these are the same, from memory, for every batch of a data set.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from emqlang.quant.networks.batches import pass_through
from emqlang.quant.networks.hooks import listening
from emqlang.quant.networks.layers import Layer
from emqlang.quant.networks.tracing import Forward, tensors

LIMIT = 2 << 30  # bytes that one tape may keep


@dataclass(frozen=True)
class Part:
    """A module, by its name; `first` and `last` count the layers whose weights have been read when it begins and returns.

    written  what follows writes to its output in place
    """

    name: str
    first: int
    last: int
    written: bool


@dataclass(frozen=True, eq=False)
class Course:
    """What one forward of a network runs.

    order   layers, by index, in the order in which their weights are first read
    latest  layer -> how many had been read when its weight was read for the last time
    chains  sequential containers that run once: of its children, each sees only what the one before returned
    """

    module: nn.Module
    order: tuple[int, ...]
    latest: Mapping[int, int]
    parts: Mapping[str, Part]
    chains: frozenset[str]

    @classmethod
    def of(cls, module: nn.Module, layers: Sequence[Layer], batch: Any, forward: Forward) -> Course:
        """Observed on one batch."""
        watch = _Watch(module, layers)
        with torch.no_grad(), watch.entering(), watch:
            pass_through(module, batch, forward)
        once = {name: found[0] for name, found in watch.seen.items() if len(found) == 1}
        parts = {
            name: Part(name, seen.first, seen.last, seen.output._version != seen.version)
            for name, seen in once.items()
            if seen.output is not None and not watch.hooked(name)
        }
        chains = {
            name
            for name in once
            if type(module.get_submodule(name)).forward is nn.Sequential.forward
        }
        return cls(module, tuple(watch.order), watch.latest, parts, frozenset(chains))

    def frontier(self, known: Callable[[Part], bool]) -> tuple[list[str], list[str]]:
        """The outermost parts that are known and hold layers; and parts that need not run, for a known one comes after."""
        played: list[str] = []
        skipped: list[str] = []
        stack = [""]
        while stack:
            outer = stack.pop()
            children = [
                f"{outer}.{name}".lstrip(".")
                for name, _ in self.module.get_submodule(outer).named_children()
            ]
            found = [
                name in self.parts and self.parts[name].last > 0 and known(self.parts[name])
                for name in children
            ]
            start = max((place for place, ready in enumerate(found, 1) if ready), default=0)
            if outer not in self.chains or not all(name in self.parts for name in children[:start]):
                start = 0
            skipped += children[: max(0, start - 1)]
            played += children[max(0, start - 1) : start]
            for name, ready in zip(children[start:], found[start:], strict=True):
                if not ready:
                    stack.append(name)
                elif self.parts[name].last > self.parts[name].first:
                    played.append(name)
        return played, skipped


class Tape:
    """What the parts of one network returned for every batch of one data set, always the same batches in the same order."""

    def __init__(self, course: Course, limit: int = LIMIT) -> None:
        self.course, self.limit = course, limit
        self.kept: dict[str, tuple[tuple[Hashable, ...], list[Tensor]]] = {}

    @property
    def bytes(self) -> int:
        return sum(output.nbytes for _, outputs in self.kept.values() for output in outputs)

    @contextmanager
    def playing(self, keys: Sequence[Hashable], cuts: Iterable[int]) -> Iterator[frozenset[str]]:
        """While all batches pass through the network: yields the names of the parts that do not run.

        keys  what stands for each layer's weight, in the order of the course
        cuts  numbers of leading layers that later passes will share with this one, and no more: what they need is kept
        """
        self.kept = {
            name: held for name, held in self.kept.items() if held[0] == self._key(name, keys)
        }
        played, skipped = self.course.frontier(lambda part: part.name in self.kept)
        gone = frozenset((*played, *skipped))
        wanted = {
            name
            for cut in cuts
            for name in self.course.frontier(lambda part, cut=cut: part.last <= cut)[0]  # type: ignore[misc]
        }
        running = [
            name
            for name in wanted - self.kept.keys()
            if not any(inside(name, other) for other in gone)
        ]
        heard: dict[str, list[Tensor]] = {name: [] for name in running}
        parts = [(name, self._part(name)) for name in running]
        with ExitStack() as stack:
            stack.enter_context(listening(parts, on_output=self._hear(heard)))
            self._replace(stack, played, skipped)
            yield gone
        self.kept |= {name: (self._key(name, keys), outputs) for name, outputs in heard.items()}

    def _key(self, name: str, keys: Sequence[Hashable]) -> tuple[Hashable, ...]:
        return tuple(keys[: self.course.parts[name].last])

    def _part(self, name: str) -> nn.Module:
        return self.course.module.get_submodule(name)

    def _hear(self, heard: dict[str, list[Tensor]]) -> Callable[[str, Tensor], None]:
        left = self.limit - self.bytes

        def hear(name: str, output: Tensor) -> None:
            if name in heard:
                heard[name].append(output.clone() if self.course.parts[name].written else output)
                if sum(kept.nbytes for outputs in heard.values() for kept in outputs) > left:
                    del heard[name]

        return hear

    def _replace(self, stack: ExitStack, played: Sequence[str], skipped: Sequence[str]) -> None:
        """Put stand-ins into the network, and leave on the stack what takes them out again."""
        stand_ins: dict[str, nn.Module] = {
            name: _Player(self._part(name), self.kept[name][1], self.course.parts[name].written)
            for name in played
        }
        stand_ins |= {name: nn.Identity() for name in skipped}
        for name, stand_in in stand_ins.items():
            outer, _, own = name.rpartition(".")
            parent = self._part(outer)
            stack.callback(parent._modules.__setitem__, own, parent._modules[own])
            parent._modules[own] = stand_in


class _Player(nn.Module):
    """Returns what a part returned, one batch after another; in everything else it is the part."""

    def __init__(self, part: nn.Module, outputs: Sequence[Tensor], copies: bool) -> None:
        super().__init__()
        self._held = (part,)  # not registered: it is no part of the network now
        self._outputs, self._copies = iter(outputs), copies

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        output = next(self._outputs)
        return output.clone() if self._copies else output

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_held"][0], name)


@dataclass
class _Run:
    """One run of a module: layers read before and after, and its output, if that is a tensor, with its version then."""

    first: int
    last: int = 0
    output: Tensor | None = None
    version: int = 0


class _Watch(TorchFunctionMode):
    """Notes in which order weights are first read, by whatever op, and what modules ran in between."""

    def __init__(self, module: nn.Module, layers: Sequence[Layer]) -> None:
        super().__init__()
        self.modules = dict(module.named_modules())
        parameters = (self.modules[layer.name].weight for layer in layers)
        self.weights = {
            id(weight): layer.index for weight, layer in zip(parameters, layers, strict=True)
        }
        self.order: list[int] = []
        self.latest: dict[int, int] = {}
        self.seen: dict[str, list[_Run]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for leaf in tensors((args, kwargs or {})):
            index = self.weights.get(id(leaf))
            if index is not None:
                self.latest[index] = len(self.order)
                if index not in self.order:
                    self.order.append(index)
        return func(*args, **(kwargs or {}))

    @cached_property
    def _foreign_hooks(self) -> frozenset[str]:
        return frozenset(
            name
            for name, part in self.modules.items()
            if part._forward_hooks or part._forward_pre_hooks
        )

    def hooked(self, name: str) -> bool:
        """Whether somebody listens to the module, or to one inside it: it has to run. The network itself is never a part."""
        return not name or any(other and inside(other, name) for other in self._foreign_hooks)

    def entering(self) -> AbstractContextManager[None]:
        assert self._foreign_hooks is not None  # looked for before the hooks below are there
        return listening(self.modules.items(), on_input=self._enter, on_output=self._leave)

    def _enter(self, name: str, args: Any, kwargs: Any) -> None:
        self.seen.setdefault(name, []).append(_Run(len(self.order)))

    def _leave(self, name: str, output: Any) -> None:
        run = self.seen[name][-1]
        run.last = len(self.order)
        if isinstance(output, Tensor):
            run.output, run.version = output, output._version


def inside(name: str, outer: str) -> bool:
    """Whether a module is another one, or in it, by their names."""
    return name == outer or name.startswith(f"{outer}.")
