"""Activation quantizers, and where they sit: on the input of every layer (`placement: operands`).

Layers that receive the same tensor share one quantizer, which runs once per forward. The tensor
that the network itself is given has INPUT_BITS. What lies between the layers (adds, pooling,
softmax, logits) stays in floating point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from emqlang.quant.networks.batches import dense, pass_through
from emqlang.quant.networks.hooks import listening
from emqlang.quant.networks.layers import Layer, readers
from emqlang.quant.networks.nested import tensors
from emqlang.quant.networks.signature import Forward
from emqlang.quant.ptq.recipe import INPUT_BITS

Read = Callable[[str, Tensor], None]  # what is done with a layer's input


@dataclass(frozen=True)
class Site:
    """The place of one quantizer.

    layers    whose input it quantizes, at least one; the first gives it its name
    external  whether that input is the network's own
    """

    layers: tuple[str, ...]
    bits: int
    external: bool

    @property
    def name(self) -> str:
        return self.layers[0]


def find_sites(
    module: nn.Module,
    layers: Sequence[Layer],
    batch: Any,
    forward: Forward,
    bits: Mapping[str, int | None],
) -> tuple[Site, ...]:
    """Where quantizers go, from one forward of the float network.

    A layer with bits None has none, nor has one that is given no rows. Layers share a site if they
    receive the very same tensors, unchanged, at the same bits.
    """
    inputs: dict[str, list[Tensor]] = {layer.name: [] for layer in layers}
    keys: dict[str, list[tuple[int, int]]] = {layer.name: [] for layer in layers}

    def note(name: str, tensor: Tensor) -> None:
        if not tensor.numel():
            return
        inputs[name].append(tensor)  # held, so that no two tensors have one identity
        keys[name].append((id(tensor), 0 if tensor.is_inference() else tensor._version))

    with torch.no_grad(), reading(readers(module, layers), note):
        pass_through(module, batch, forward)
    sites: dict[Any, Site] = {}
    for name, width in bits.items():
        if width is None or not inputs[name]:
            continue
        external = all(_is_input(tensor, batch) for tensor in inputs[name])
        width = INPUT_BITS if external else width
        key = (width, *keys[name])
        others = sites[key].layers if key in sites else ()
        sites[key] = Site((*others, name), width, external)
    return tuple(sites.values())


def reading(modules: Iterable[tuple[str, nn.Module]], read: Read) -> AbstractContextManager[None]:
    """While it lasts, `read` is called with every input of these layers; see `readers`."""
    return listening(
        modules, on_input=lambda name, args, kwargs: read(name, _operand(args, kwargs))
    )


def replacing(
    modules: Iterable[tuple[str, nn.Module]], replace: Callable[[str, Tensor], Tensor]
) -> AbstractContextManager[None]:
    """While it lasts, these layers read what `replace` makes of their inputs; see `readers`."""

    def instead(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        own = replace(name, _operand(args, kwargs))
        return ((own, *args[1:]), kwargs) if args else ((), kwargs | {"input": own})

    return listening(modules, on_input=instead)


class SharedInput:
    """The hook that quantizes the input of its layers, once per forward, however many read it.

    readers  how many layers read the same tensor in one forward; after the last it is dropped
    """

    def __init__(self, quantizer: Callable[[Tensor], Tensor], readers: int) -> None:
        self.quantizer, self.readers = quantizer, readers
        self.left = 0
        self.seen: Tensor | None = None
        self.quantized: Tensor | None = None

    def __call__(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        quantized = self.read(_operand(args, kwargs))
        return ((quantized, *args[1:]), kwargs) if args else ((), kwargs | {"input": quantized})

    def read(self, tensor: Tensor) -> Tensor:
        """The tensor, quantized once for all layers in a row that read it."""
        if self.seen is not tensor or self.quantized is None:
            self.seen, self.quantized, self.left = tensor, self.quantizer(tensor), self.readers
        quantized = self.quantized
        self.left -= 1
        if self.left <= 0:
            self.forget()
        return quantized

    def forget(self) -> None:
        self.seen = self.quantized = None


class NewForward:
    """The hook on the network itself: drops what a forward that was cut short left behind."""

    def __init__(self, inputs: Sequence[SharedInput]) -> None:
        self.inputs = inputs

    def __call__(self, module: nn.Module, args: Any) -> None:
        for shared in self.inputs:
            shared.forget()


def attach(
    module: nn.Module,
    layers: Sequence[Layer],
    sites: Iterable[Site],
    quantizers: Mapping[str, Callable[[Tensor], Tensor]],
) -> Callable[[], None]:
    """Put a quantizer, by site name, on the inputs of its layers; returns what removes them."""
    shared = [(site, SharedInput(quantizers[site.name], len(site.layers))) for site in sites]
    hooks = {name: hook for site, hook in shared for name in site.layers}
    handles = [module.register_forward_pre_hook(NewForward([hook for _, hook in shared]))]
    handles += [
        part.register_forward_pre_hook(hooks[name], with_kwargs=True)
        for name, part in readers(module, layers)
        if name in hooks
    ]

    def detach() -> None:
        for handle in handles:
            handle.remove()

    return detach


def _operand(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
    operand = args[0] if args else kwargs["input"]
    assert isinstance(operand, Tensor)
    return dense(operand)


def _is_input(tensor: Tensor, batch: Any) -> bool:
    """Whether these are the network's own input, or a view or copy of it."""

    def ordered(leaf: Tensor) -> Tensor:
        return dense(leaf.detach()).cpu().flatten().sort().values

    form = tensor.dtype, tensor.numel()
    alike = [leaf for leaf in tensors(batch) if (leaf.dtype, leaf.numel()) == form]
    return any(torch.equal(ordered(tensor), ordered(leaf)) for leaf in alike)
