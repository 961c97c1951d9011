"""Outputs of a network's parts, kept from one configuration to the next.

A part's output depends on the weights that have been read by the time it returns: it is reused, for
every batch of a data set, as long as these are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from emqlang.quant.networks.hooks import listening
from emqlang.quant.tables.forward_order import ForwardOrder, inside

LIMIT = 2 << 30  # bytes that one cache may keep


class OutputCache:
    """What the parts of one network returned for every batch of one data set.

    The batches must be the same, in the same order, each time.
    """

    def __init__(self, order: ForwardOrder, limit: int = LIMIT) -> None:
        self.order, self.limit = order, limit
        self.kept: dict[str, tuple[tuple[Hashable, ...], list[Tensor]]] = {}

    @property
    def bytes(self) -> int:
        return sum(output.nbytes for _, outputs in self.kept.values() for output in outputs)

    @contextmanager
    def reusing(self, keys: Sequence[Hashable], cuts: Iterable[int]) -> Iterator[frozenset[str]]:
        """A context in which all batches pass once; yields the names of parts that do not run.

        keys  what stands for each layer's weight, in the order of the forward
        cuts  numbers of leading layers that later passes will share with this one, and no more:
              what they need is kept
        """
        kept = self.kept.items()
        self.kept = {name: entry for name, entry in kept if entry[0] == self._key(name, keys)}
        reused, skipped = self.order.frontier(lambda part: part.name in self.kept)
        idle = frozenset((*reused, *skipped))
        wanted = {name for cut in cuts for name in self._before(cut)} - self.kept.keys()
        fresh: dict[str, list[Tensor]] = {
            name: [] for name in wanted if not any(inside(name, other) for other in idle)
        }
        parts = [(name, self._part(name)) for name in fresh]
        with ExitStack() as stack:
            stack.enter_context(listening(parts, on_output=self._keeping(fresh)))
            self._replace(stack, reused, skipped)
            yield idle
        self.kept |= {name: (self._key(name, keys), outputs) for name, outputs in fresh.items()}

    def _before(self, cut: int) -> list[str]:
        """The parts that need no more than the first layers."""
        return self.order.frontier(lambda part: part.last <= cut)[0]

    def _key(self, name: str, keys: Sequence[Hashable]) -> tuple[Hashable, ...]:
        return tuple(keys[: self.order.parts[name].last])

    def _part(self, name: str) -> nn.Module:
        return self.order.module.get_submodule(name)

    def _keeping(self, fresh: dict[str, list[Tensor]]) -> Callable[[str, Tensor], None]:
        left = self.limit - self.bytes

        def keep(name: str, output: Tensor) -> None:
            if name in fresh:
                fresh[name].append(output.clone() if self.order.parts[name].written else output)
                if sum(kept.nbytes for outputs in fresh.values() for kept in outputs) > left:
                    del fresh[name]

        return keep

    def _replace(self, stack: ExitStack, reused: Sequence[str], skipped: Sequence[str]) -> None:
        """Put stand-ins into the network, and leave on the stack what takes them out again."""
        stand_ins: dict[str, nn.Module] = {name: nn.Identity() for name in skipped}
        for name in reused:
            written = self.order.parts[name].written
            stand_ins[name] = _Reused(self._part(name), self.kept[name][1], written)
        for name, stand_in in stand_ins.items():
            outer, _, child = name.rpartition(".")
            parent = self._part(outer)
            stack.callback(parent._modules.__setitem__, child, parent._modules[child])
            parent._modules[child] = stand_in


class _Reused(nn.Module):
    """Returns what a part returned, batch after batch; in everything else it is the part."""

    def __init__(self, part: nn.Module, outputs: Sequence[Tensor], copies: bool) -> None:
        super().__init__()
        self._original = (part,)  # not registered: it is no part of the network now
        self._outputs, self._copies = iter(outputs), copies

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        output = next(self._outputs)
        return output.clone() if self._copies else output

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_original"][0], name)
