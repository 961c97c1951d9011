"""Quantizable layers: which modules of a network have them, their weights as rows, and the groups that share a choice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from emqlang.grammar.diagnostics import error, nearest
from emqlang.quant.networks.tracing import Forward, Record, call, observe

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
QUANTIZABLE = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    *TRANSPOSED,
    nn.Linear,
)  # and their subclasses, whose forward is kept
Norm = nn.modules.batchnorm._BatchNorm  # BatchNorm1d, 2d, 3d and SyncBatchNorm


@dataclass(frozen=True, eq=False)
class Layer:
    """One quantizable layer; a module used several times is one layer. `index` is its place in named_modules order."""

    name: str
    module: nn.Module
    index: int

    @property
    def type(self) -> str:
        """The torch type it is, or inherits from: 'Conv2d', 'Linear', ..."""
        return next(base.__name__ for base in type(self.module).__mro__ if base in QUANTIZABLE)

    @property
    def weight(self) -> nn.Parameter:
        weight = self.module.weight
        assert isinstance(weight, nn.Parameter)
        return weight

    @property
    def bias(self) -> nn.Parameter | None:
        bias = self.module.bias
        assert bias is None or isinstance(bias, nn.Parameter)
        return bias

    @property
    def shape(self) -> tuple[int, ...]:
        """The weight's shape, as torch lays it out."""
        return tuple(self.weight.shape)

    @property
    def numel(self) -> int:
        return self.weight.numel()

    @property
    def conv_groups(self) -> int:
        """Groups of a convolution; 1 for a linear layer."""
        return int(getattr(self.module, "groups", 1))

    @property
    def transposed(self) -> bool:
        """Whether the weight lies input channels first."""
        return isinstance(self.module, TRANSPOSED)

    @property
    def channels_in(self) -> int:
        return self.shape[0] if self.transposed else self.shape[1] * self.conv_groups

    @property
    def channels_out(self) -> int:
        return self.shape[1] * self.conv_groups if self.transposed else self.shape[0]

    @property
    def fan_in(self) -> int:
        """Weights that meet in one output element (of a transposed convolution of stride 1)."""
        return self.numel // self.channels_out

    def rows(self, tensor: Tensor) -> Tensor:
        """A weight-shaped tensor as (C_out, fan_in), output channels first."""
        if not self.transposed:
            return tensor.reshape(self.channels_out, self.fan_in)
        inputs, outputs, *kernel = self.shape
        grouped = tensor.reshape(self.conv_groups, inputs // self.conv_groups, outputs, *kernel)
        return grouped.transpose(1, 2).reshape(self.channels_out, self.fan_in)

    def unrows(self, tensor: Tensor) -> Tensor:
        """The inverse of `rows`: (C_out, fan_in) in the weight's own shape."""
        if not self.transposed:
            return tensor.reshape(self.shape)
        inputs, outputs, *kernel = self.shape
        grouped = tensor.reshape(self.conv_groups, outputs, inputs // self.conv_groups, *kernel)
        return grouped.transpose(1, 2).reshape(self.shape)


def readers(module: nn.Module, layers: Iterable[Layer]) -> list[tuple[str, nn.Module]]:
    """Each layer's name with a module of this copy of the network that multiplies with its weight.

    A layer whose weight several modules share comes up once for each of them.
    """
    parts = dict(module.named_modules())
    candidates = [part for part in parts.values() if isinstance(part, QUANTIZABLE)]
    return [
        (layer.name, part)
        for layer in layers
        for part in candidates
        if part.weight is parts[layer.name].weight
    ]


@dataclass(frozen=True)
class Group:
    """Layers (by index) that take one choice together; named after `main`, whose statistics stand for a sensitivity."""

    name: str
    layers: tuple[int, ...]
    main: int


@dataclass(frozen=True)
class Uncovered:
    """A parameter or buffer that reaches products outside every quantizable layer, with their MACs for one image."""

    name: str
    numel: int
    macs: int


@dataclass(frozen=True, eq=False)
class Collection:
    """What one forward of a network showed.

    layers      those that were reached, in named_modules order; `macs` and `act_numel` are theirs for one image
    groups      every layer is in one of them; in the order of their main layers
    uncovered   parameters multiplied outside of them, in named_parameters order
    unreached   names of quantizable modules the forward never used
    total_macs  of every product with a parameter, covered or not
    """

    layers: tuple[Layer, ...]
    groups: tuple[Group, ...]
    macs: tuple[int, ...]
    act_numel: tuple[int, ...]
    uncovered: tuple[Uncovered, ...]
    unreached: tuple[str, ...]
    total_macs: int


def collect(
    model: nn.Module,
    example: Any,
    *,
    forward: Forward | None = None,
    tied: Sequence[Sequence[str]] | None = None,
) -> Collection:
    """The quantizable layers of a network in eval mode, as one forward of the example uses them.

    example  a batch: a tensor, a tuple of arguments or a dict of named ones; or whatever `forward(model, example)` takes
    tied     lists of layers that share one choice, the main one first; default the network's own `tied_layers`, if any
    Raises E306 where nothing can be quantized, E308 where the forward fails, E309 where a tie names no layer.
    """
    return collected(model, record(model, example, forward or call), tied)


def record(model: nn.Module, example: Any, forward: Forward) -> Record:
    """One forward, observed for every quantizable layer and batch norm."""
    return observe(model, example, quantizable(model), norms(model), forward)


def quantizable(model: nn.Module) -> dict[str, nn.Module]:
    """Modules of the quantizable types whose weight is a parameter, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, QUANTIZABLE)
        and isinstance(module.weight, nn.Parameter)
        and module.weight.is_floating_point()
    }


def norms(model: nn.Module) -> dict[str, Norm]:
    """Batch norms, by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Norm)}


def collected(
    model: nn.Module, record: Record, tied: Sequence[Sequence[str]] | None = None
) -> Collection:
    """The collection that a record of this network shows; see `collect`."""
    modules = quantizable(model)
    reached = [name for name in modules if record.products.get(name)]
    if not reached:
        raise error(
            "E306",
            f"{type(model).__name__} has no convolution and no linear layer that its forward reaches",
        )
    layers = tuple(Layer(name, modules[name], index) for index, name in enumerate(reached))
    macs = tuple(record.macs[layer.name] // record.batch for layer in layers)
    sizes = {
        name: tensor.numel() for name, tensor in (*model.named_parameters(), *model.named_buffers())
    }
    uncovered = tuple(
        Uncovered(name, numel, record.uncovered[name] // record.batch)
        for name, numel in sizes.items()
        if name in record.uncovered
    )
    ties = getattr(model, "tied_layers", ()) if tied is None else tied
    return Collection(
        layers=layers,
        groups=_groups(layers, ties, modules),
        macs=macs,
        act_numel=tuple(record.outputs[layer.name] // record.batch for layer in layers),
        uncovered=uncovered,
        unreached=tuple(name for name in modules if name not in reached and name in record.weights),
        total_macs=sum(macs) + sum(entry.macs for entry in uncovered),
    )


def _groups(
    layers: Sequence[Layer], ties: Sequence[Sequence[str]], known: Iterable[str]
) -> tuple[Group, ...]:
    """One group for each tie and for each layer that is in none; a tie's unreached layers drop out of it."""
    index = {layer.name: layer.index for layer in layers}
    named = [name for tie in ties for name in tie]
    for name in named:
        if name not in known:
            raise error(
                "E309",
                f"a tie names '{name}', which is no quantizable layer of this network",
                *nearest(name, known),
            )
        if named.count(name) > 1:
            raise error("E309", f"layer '{name}' is tied twice")
    reached = [[index[name] for name in tie if name in index] for tie in ties]
    loose = [[layer.index] for layer in layers if layer.name not in named]
    members = sorted(member for member in (*reached, *loose) if member)
    return tuple(
        Group(layers[first].name, tuple(sorted([first, *rest])), first) for first, *rest in members
    )
