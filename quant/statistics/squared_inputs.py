"""The squared inputs that each weight is multiplied with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from emqlang.grammar.diagnostics import error
from emqlang.quant.networks.hooks import listening
from emqlang.quant.networks.layers import Layer, readers
from emqlang.quant.statistics.image_pass import ImagePass, Observer
from emqlang.quant.statistics.subject import Subject

CONVOLUTIONS: Final = (torch.conv1d, torch.conv2d, torch.conv3d)
TRANSPOSED: Final = (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)
LINEAR: Final = ("input", "weight", "bias")
CONVOLUTION: Final = (*LINEAR, "stride", "padding")
# The parameters of each product's function, in order.
PARAMETERS: Final[dict[Any, tuple[str, ...]]] = {
    F.linear: LINEAR,
    **dict.fromkeys(CONVOLUTIONS, (*CONVOLUTION, "dilation", "groups")),
    **dict.fromkeys(TRANSPOSED, (*CONVOLUTION, "output_padding", "groups", "dilation")),
}


class SquaredInputs(Observer):
    """`x2` is the mean over images and positions of the squared input of each weight.

    Positions are the output's; of a transposed convolution, whose input moves over the weight, the
    input's. Inputs that padding adds count, as zeros.
    """

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.sums: list[Tensor | int] = [0] * len(subject.layers)
        self.counts = [0] * len(subject.layers)
        self.ran = [False] * len(subject.layers)
        self.products = _Products(self)

    @contextmanager
    def watching(self) -> Iterator[None]:
        modules = readers(self.subject.module, self.subject.layers)
        enter, leave = self.products.enter, self.products.leave
        with listening(modules, on_input=enter, on_output=leave), self.products:
            yield

    def add(self, layer: Layer, function: Any, arguments: dict[str, Any]) -> None:
        """One product of a layer with its input."""
        if not arguments["input"].numel():
            return
        with torch.enable_grad():
            total, count = _squares(function, arguments)
        self.sums[layer.index] = total.double() + self.sums[layer.index]
        self.counts[layer.index] += count

    def see(self, image: ImagePass) -> None:
        for index, calls in enumerate(image.outputs):
            self.ran[index] |= any(call.numel() for call in calls)

    def result(self) -> Tensor:
        means = []
        for layer, total, count in zip(self.subject.layers, self.sums, self.counts, strict=True):
            if not count and not self.ran[layer.index]:
                means.append(torch.zeros(layer.shape, device=self.subject.device))
                continue
            if not count:
                raise error(
                    "E308",
                    f"layer '{layer.name}' does not multiply its weight "
                    "by way of a convolution or linear function",
                    "x2 cannot be taken for it",
                )
            means.append(_widened(layer, torch.as_tensor(total) / count))
        return self.subject.flat(means).float()


class _Products(TorchFunctionMode):
    """A mode that hands the products inside each layer's own forward to the observer."""

    def __init__(self, observer: SquaredInputs) -> None:
        super().__init__()
        self.observer = observer
        self.layers = {layer.name: layer for layer in observer.subject.layers}
        self.shapes = {layer.name: layer.shape for layer in observer.subject.layers}
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
            arguments = dict(zip(PARAMETERS[func], args, strict=False)) | kwargs
            layer = self.inside[-1]
            if arguments["weight"].shape == self.shapes[layer.name]:
                self.observer.add(layer, func, arguments)
        return func(*args, **kwargs)


def _squares(function: Any, arguments: dict[str, Any]) -> tuple[Tensor, int]:
    """Sums of each weight's squared inputs, for one output channel per group, and their positions.

    The sums are the gradient, with respect to the weight, of the product's sum on squared inputs.
    """
    squared, shape = arguments["input"].detach().float().square(), arguments["weight"].shape
    if function is F.linear:
        return squared.flatten(0, -2).sum(0, keepdim=True), squared.numel() // shape[1]
    groups = arguments.get("groups", 1)
    transposed = function in TRANSPOSED
    channels = (shape[0], 1) if transposed else (groups, shape[1])
    weight = torch.zeros(*channels, *shape[2:], device=squared.device).requires_grad_()
    output = function(**arguments | {"input": squared, "weight": weight, "bias": None})
    (total,) = torch.autograd.grad(output.sum(), weight)
    return total, squared.numel() // shape[0] if transposed else output.numel() // groups


def _widened(layer: Layer, values: Tensor) -> Tensor:
    """Values of one output channel per group, repeated for all of them."""
    if layer.transposed or layer.type == "Linear":
        return values.expand(layer.shape)
    return values.repeat_interleave(layer.shape[0] // layer.conv_groups, 0)
