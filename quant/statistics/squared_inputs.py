"""What the weights meet: the inputs that each of them is multiplied with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from emqlang.grammar.diagnostics import error
from emqlang.quant.networks.hooks import listening
from emqlang.quant.networks.layers import Layer, readers
from emqlang.quant.statistics.image_pass import Observer
from emqlang.quant.statistics.subject import Subject

CONVOLUTIONS = (torch.conv1d, torch.conv2d, torch.conv3d)
TRANSPOSED = (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)
PARAMETERS: dict[Any, tuple[str, ...]] = {
    F.linear: ("input", "weight", "bias"),
    **dict.fromkeys(
        CONVOLUTIONS, ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
    ),
    **dict.fromkeys(
        TRANSPOSED,
        ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation"),
    ),
}


class MeanSquare(Observer):
    """`x2`: the mean over images and positions of the squared input that meets the weight.

    Positions are the output's; of a transposed convolution, whose input is what moves over the weight, the input's.
    Inputs that padding adds count, as zeros.
    """

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.sums: list[Tensor | int] = [0] * len(subject.layers)
        self.counts = [0] * len(subject.layers)
        self.products = _Products(self)

    @contextmanager
    def watching(self) -> Iterator[None]:
        modules = readers(self.subject.module, self.subject.layers)
        enter, leave = self.products.enter, self.products.leave
        with listening(modules, on_input=enter, on_output=leave), self.products:
            yield

    def add(self, layer: Layer, function: Any, given: dict[str, Any]) -> None:
        """One product of a layer with its input."""
        with torch.enable_grad():
            total, count = _squares(function, given)
        self.sums[layer.index] = total.double() + self.sums[layer.index]
        self.counts[layer.index] += count

    def result(self) -> Tensor:
        means = []
        for layer, total, count in zip(self.subject.layers, self.sums, self.counts, strict=True):
            if not count:
                message = f"layer '{layer.name}' does not multiply its weight by way of a convolution or linear function"
                raise error("E308", message, "x2 cannot be taken for it")
            means.append(_widen(layer, torch.as_tensor(total) / count))
        return self.subject.flat(means).float()


class _Products(TorchFunctionMode):
    """Tells the observer of the products inside each layer's own forward."""

    def __init__(self, observer: MeanSquare) -> None:
        super().__init__()
        self.observer = observer
        self.layers = {layer.name: layer for layer in observer.subject.layers}
        self.inside: list[Layer] = []

    def enter(self, name: str, args: Any, kwargs: Any) -> None:
        """The forward of a layer begins."""
        self.inside.append(self.layers[name])

    def leave(self, name: str, output: Any) -> None:
        """It ends."""
        self.inside.pop()

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.inside and func in PARAMETERS:
            given = dict(zip(PARAMETERS[func], args, strict=False)) | kwargs
            if given["weight"].shape == self.inside[-1].weight.shape:
                self.observer.add(self.inside[-1], func, given)
        return func(*args, **kwargs)


def _squares(function: Any, given: dict[str, Any]) -> tuple[Tensor, int]:
    """Sums of the squared inputs that meet each weight of one output channel a group, and over how many positions.

    They are the gradient, with respect to the weight, of the sum of what the product makes of squared inputs.
    """
    squared, shape = given["input"].detach().float().square(), given["weight"].shape
    if function is F.linear:
        return squared.flatten(0, -2).sum(0, keepdim=True), squared.numel() // shape[1]
    groups = given.get("groups", 1)
    moved = function in TRANSPOSED
    weight = torch.zeros(
        shape[0] if moved else groups, 1 if moved else shape[1], *shape[2:], device=squared.device
    ).requires_grad_()
    output = function(**given | {"input": squared, "weight": weight, "bias": None})
    (total,) = torch.autograd.grad(output.sum(), weight)
    return total, squared.numel() // shape[0] if moved else output.numel() // groups


def _widen(layer: Layer, values: Tensor) -> Tensor:
    """Values for one output channel a group, for all of them."""
    if layer.transposed or layer.type == "Linear":
        return values.expand(layer.shape)
    return values.repeat_interleave(layer.shape[0] // layer.conv_groups, 0)
