"""Quantizable layers: their modules, weights and costs, and the groups that share a choice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from torch import Tensor, nn

from emqlang.grammar.diagnostics import EmqError, error, nearest
from emqlang.quant.networks.books import Books
from emqlang.quant.networks.facts import CollectionFacts, Group, LayerFacts, why_none
from emqlang.quant.networks.signature import Forward
from emqlang.quant.networks.tracing import Trace, trace
from emqlang.quant.user_code import foreign

TRANSPOSED: Final = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
# And their subclasses, whose forward is kept.
QUANTIZABLE: Final = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED, nn.Linear)
SHOWN: Final = 5  # names listed in one sentence
Norm = nn.modules.batchnorm._BatchNorm  # BatchNorm1d, 2d, 3d and SyncBatchNorm


@dataclass(frozen=True, eq=False)
class Layer:
    """A quantizable layer; `index` is its place in named_modules order.

    A module that is used several times is one layer.
    """

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
        """Weights that add up in one output element (of a transposed convolution of stride 1)."""
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
class Uncovered:
    """A parameter or buffer that stays at 32 bits though products or a table read it.

    numel  how many elements; 0 of a layer's weight, which has the layer's bits: what was made of it
           in the forward has 32
    macs   of its products, for one image; 0 of a table
    """

    name: str
    numel: int
    macs: int


@dataclass(frozen=True, eq=False)
class Collection:
    """The layers of a network and what one forward showed of them.

    layers      those that were reached, in named_modules order
    macs        of each layer, for one image
    act_numel   elements that each layer puts out for one image
    groups      every layer is in one of them; in the order of their main layers
    outside     of each layer, for one image: multiply-accumulates with its weight outside of its
                forward, where its input is not quantized
    uncovered   parameters multiplied or looked up outside of them, in named_parameters order
    unreached   names of quantizable modules whose weight the forward did not use
    shared      names of modules that share a layer's weight, and that layer's
    rows        on how many images the forward was looked at
    total_macs  of every product with a parameter, covered or not
    """

    layers: tuple[Layer, ...]
    groups: tuple[Group, ...]
    macs: tuple[int, ...]
    act_numel: tuple[int, ...]
    outside: tuple[int, ...]
    uncovered: tuple[Uncovered, ...]
    unreached: tuple[str, ...]
    shared: Mapping[str, str]
    rows: int
    total_macs: int

    def why_none(self, pattern: str) -> str:
        """Why a name, or a pattern of names, is no layer's; empty where nothing is known of it."""
        return why_none(pattern, self.shared, self.unreached)

    @property
    def facts(self) -> CollectionFacts:
        layers = tuple(
            LayerFacts(layer.name, layer.type, layer.shape, layer.numel) for layer in self.layers
        )
        return CollectionFacts(layers, self.groups, self.unreached, dict(self.shared))


def quantizable(model: nn.Module) -> dict[str, nn.Module]:
    """Modules of the quantizable types whose weight is a parameter, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, QUANTIZABLE)
        and isinstance(getattr(module, "weight", None), nn.Parameter)
        and module.weight.is_floating_point()
    }


def norms(model: nn.Module) -> dict[str, Norm]:
    """Batch norms, by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Norm)}


def trace_layers(model: nn.Module, example: Any, forward: Forward) -> Trace:
    """One forward, traced for every quantizable layer and batch norm."""
    return trace(model, example, quantizable(model), norms(model), forward)


def collect(
    model: nn.Module, traces: Sequence[Trace], tied: Sequence[Sequence[str]] | None = None
) -> Collection:
    """The quantizable layers of a network as its traces, each on other images, show them.

    tied  lists of layers that share one choice, the main one first; default the network's own
          `tied_layers`, if any
    Raises E306 where nothing can be quantized, E309 where a tie names no layer.
    """
    modules, books = quantizable(model), Books.of(traces)
    layers = tuple(
        Layer(name, modules[name], index)
        for index, name in enumerate(name for name in modules if books.products[name])
    )
    if not layers:
        raise _nothing(model, books)

    def counts(of: Mapping[str, int]) -> tuple[int, ...]:
        return tuple(of[layer.name] // books.rows for layer in layers)

    macs, outside = counts(books.macs), counts(books.outside)
    floating = tuple(
        Uncovered(
            name,
            0 if name in books.reached else tensor.numel(),
            books.floating[name] // books.rows,
        )
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
        if name in books.floating
    )
    ties = _ties(model) if tied is None else tied
    return Collection(
        layers=layers,
        groups=_groups(layers, ties, modules),
        macs=macs,
        act_numel=counts(books.outputs),
        outside=outside,
        uncovered=floating,
        unreached=tuple(books.unreached),
        shared=_shared(model, layers),
        rows=books.rows,
        total_macs=sum(macs) + sum(outside) + sum(entry.macs for entry in floating),
    )


def _nothing(model: nn.Module, books: Books) -> EmqError:
    """Why a network has no layers."""
    kind = type(model).__name__
    message = f"{kind} has no convolution or linear layer that its forward reaches"
    names = ", ".join(f"'{name}'" for name in list(books.floating)[:SHOWN])
    help = [f"its products are with weights that no layer has as they are: {names}"]
    return error("E306", message, *(help if names else ()))


def _shared(model: nn.Module, layers: Iterable[Layer]) -> dict[str, str]:
    """Other names under which modules have a layer's weight, with the layer's."""
    owners = {id(layer.weight): layer.name for layer in layers}
    return {
        name: owner
        for name, module in model.named_modules(remove_duplicate=False)
        if (owner := owners.get(id(getattr(module, "weight", None)), name)) != name
    }


def _ties(model: nn.Module) -> Any:
    """What the network's own `tied_layers` are, if it has any."""
    with foreign("E309", "reading the network's tied_layers"):
        return getattr(model, "tied_layers", None) or ()


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _groups(
    layers: Sequence[Layer], ties: Sequence[Sequence[str]], known: Iterable[str]
) -> tuple[Group, ...]:
    """One group for each tie and for each layer that is in none; without the unreached layers."""
    index = {layer.name: layer.index for layer in layers}
    if not _is_list(ties) or not all(map(_is_list, ties)):
        message = f"the tied layers are {str(ties)[:60]}"
        raise error("E309", message, "give lists of layers' names: [['conv1', 'conv2'], ...]")
    tied = [name for tie in ties for name in tie]
    for name in tied:
        if not isinstance(name, str) or name not in known:
            message = f"a tie names '{name}', which is not a quantizable layer of this network"
            raise error("E309", message, *nearest(str(name), known))
        if tied.count(name) > 1:
            raise error("E309", f"layer '{name}' is tied twice")
    reached = [[index[name] for name in tie if name in index] for tie in ties]
    single = [[layer.index] for layer in layers if layer.name not in tied]
    members = sorted(member for member in (*reached, *single) if member)
    return tuple(
        Group(layers[main].name, tuple(sorted([main, *rest])), main) for main, *rest in members
    )
