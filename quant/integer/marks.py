"""Which operations of a torch.export program have an integer form, and where the quantizers are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node

from emqlang.grammar.diagnostics import EmqError, error
from emqlang.quant.ptq.grids import ActivationGrid

ROOT = "network."  # before the names of the network's own modules
aten = torch.ops.aten


@torch.library.custom_op("emqlang::quantize", mutates_args=())
def quantize(tensor: Tensor, scale: float, zero_point: int, highest: int) -> Tensor:
    """The values of a grid that are nearest, as ActivationGrid gives them."""
    steps = tensor.div(scale).round_().clamp_(-zero_point, highest - zero_point)
    return steps.mul_(scale)


@quantize.register_fake
def _(tensor: Tensor, scale: float, zero_point: int, highest: int) -> Tensor:
    return torch.empty_like(tensor)


QUANTIZE = torch.ops.emqlang.quantize.default


class Mark(nn.Module):
    """An activation quantizer as one operation, whose arguments say which grid it has."""

    def __init__(self, grid: ActivationGrid) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, tensor: Tensor) -> Tensor:
        grid = self.grid
        highest = (1 << grid.bits) - 1
        marked: Tensor = quantize(tensor, grid.scale, grid.zero_point, highest)
        return marked


def calls(nodes: Any) -> Iterator[Node]:
    """The operations on tensors; sizes of them are none."""
    for node in nodes:
        if node.op == "call_function" and isinstance(node.meta.get("val"), (Tensor, tuple, list)):
            yield node


def argument(node: Node, name: str) -> Any:
    """What an operation is given, by its parameter's name, or that parameter's default."""
    parameters = node.target._schema.arguments  # type: ignore[union-attr]
    for place, parameter in enumerate(parameters):
        if parameter.name == name:
            default = parameter.default_value if parameter.has_default_value() else None
            given = node.args[place] if place < len(node.args) else node.kwargs.get(name, default)
            return given
    raise LookupError(name)


def shape(node: Node) -> tuple[Any, ...]:
    return tuple(node.meta["val"].shape)


def module_of(node: Node) -> str:
    """The name of the module that runs an operation; '' for the network itself."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    name = str(stack[-1][0]) if stack else ""
    return name.removeprefix(ROOT) if name.startswith(ROOT) else ""


def name_of(node: Node) -> str:
    """What torch calls an operation, and where it is: `layer_norm in 'blocks.0.norm1'`."""
    schema = getattr(node.target, "_schema", None)
    name = str(node.target) if schema is None else schema.name.rpartition("::")[2]
    module = module_of(node)
    return f"{name} in '{module}'" if module else name


def check_known(nodes: Any, known: Callable[[Node], bool]) -> None:
    """Raises E412, which names each operation that has no integer form, once."""
    first: dict[Any, str] = {}
    for node in calls(nodes):
        if not known(node):
            first.setdefault(node.target, name_of(node))
    if first:
        several = f"{len(first)} operations" if len(first) > 1 else "an operation"
        form = "forms" if len(first) > 1 else "form"
        found = "; ".join(list(first.values())[:6]) + ("; ..." if len(first) > 6 else "")
        message = f"the network has {several} without integer {form}: {found}"
        raise error("E412", message, KNOWN)


def no_form(node: Node, reason: str) -> EmqError:
    """E412 for an operation whose settings have no integer form."""
    return error("E412", f"{name_of(node)} has no integer form: {reason}", KNOWN)


KNOWN = (
    "integers are made of convolutions, linear layers, ReLU, ReLU6, sums of two tensors, "
    "max pooling, global average pooling and flatten"
)
