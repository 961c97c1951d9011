"""The quantized network: a copy of the user's module with weights on grids and quantized inputs.

Its checkpoint is one safetensors file: packed integers, scales and zero points of every quantized
weight, everything else as it is, and the recipe; loading it gives the same outputs bit for bit.
Its tensors take the bytes that `quant.bits.costs` counts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from msgspec import UNSET, Struct, to_builtins
from torch import Tensor, nn

from emqlang.grammar.diagnostics import Diagnostic, EmqError, error
from emqlang.quant import sealed
from emqlang.quant.networks.batches import run
from emqlang.quant.networks.layers import Layer
from emqlang.quant.networks.nested import tensors
from emqlang.quant.networks.network import Network
from emqlang.quant.networks.notices import listed
from emqlang.quant.networks.plain import copied
from emqlang.quant.ptq.fidelity import LayerReport
from emqlang.quant.ptq.grids import ActivationGrid, Grid
from emqlang.quant.ptq.packing import pack, packed_size, unpack
from emqlang.quant.ptq.recipe import (
    ModelIdentity,
    Recipe,
    Scheme,
    check_fits,
    load_recipe,
    parse_recipe,
)
from emqlang.quant.ptq.sites import Site, attach
from emqlang.quant.records import read_json, typed
from emqlang.store import as_path, is_file, is_folder, writing

FORMAT = "emqlang-quantized-2"
A_BYTE_EACH = "emqlang-quantized-1"  # an older version, which is still read: codes (C_out, fan_in)
SUFFIX = ".safetensors"
RECIPE, MODEL = "recipe.json", f"model{SUFFIX}"  # in the folder that `emqlang quantize` writes
PARTS = ("codes", "scale", "zero_point")


@dataclass(frozen=True, eq=False)
class QuantizedWeight:
    """A layer's weight as integers, uint8 (C_out, fan_in), on a grid."""

    codes: Tensor
    grid: Grid

    @property
    def values(self) -> Tensor:
        return self.grid.values(self.codes)


@dataclass(frozen=True, eq=False)
class Quantized:
    """A network quantized by a recipe.

    module   a copy of the network's, of its own class, to be used like it; in eval mode
    weights  layer -> its weight as integers
    inputs   the activation quantizers and where they sit
    report   one row per layer; empty for a network that was loaded
    diagnostics  W615 for layers that no calibration image reached; of a network that was loaded,
                 W610 too for a checkpoint of an older version, which has no digest
    """

    module: nn.Module
    recipe: Recipe
    weights: Mapping[str, QuantizedWeight]
    inputs: Sequence[tuple[Site, ActivationGrid]]
    report: tuple[LayerReport, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()

    def __repr__(self) -> str:
        return f"Quantized({type(self.module).__name__} by {self.recipe!r})"

    def save(self, path: str | Path) -> None:
        """Write a folder as `emqlang quantize` does, or the checkpoint alone: *.safetensors.

        Raises E301 where it cannot be written.
        """
        path = as_path(path)
        if path.suffix != SUFFIX:
            self.save(path / MODEL)
            self.recipe.save(path / RECIPE)
            return
        with writing(path):
            sealed.write(path, *self.stored())

    def rebuilt(
        self, network: Network, quantizers: Mapping[str, Callable[[Tensor], Tensor]]
    ) -> nn.Module:
        """A copy of the float network with these weights, and with other quantizers, by site."""
        module = copied(network.module).requires_grad_(False)
        restore(module, self.module.state_dict(), partial(error, "E302"))
        attach(module, network.collection.layers, [site for site, _ in self.inputs], quantizers)
        return module.eval()

    def stored(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """The tensors and the metadata of a checkpoint."""
        weights: Iterable[Any] = (self.module.get_submodule(name).weight for name in self.weights)
        known = {weight.data_ptr() for weight in weights}
        stored: dict[str, Tensor] = {}
        for name, tensor in self.module.state_dict().items():
            if _is_stored(tensor) and tensor.data_ptr() not in known:
                stored[name] = tensor.detach().cpu().contiguous()
                known |= {tensor.data_ptr()} if tensor.numel() else set()
        for name, weight in self.weights.items():
            grid, codes = weight.grid, pack(weight.codes.cpu(), weight.grid.bits)
            parts = (codes, grid.scale, grid.zero_point.to(torch.uint8))
            for part, value in zip(PARTS, parts, strict=True):
                stored[f"{name}.weight.{part}"] = value.cpu().contiguous()
        return stored, self._metadata()

    def _metadata(self) -> dict[str, str]:
        rows = [
            _Input(site.layers, grid.bits, site.external, grid.scale, grid.zero_point)
            for site, grid in self.inputs
        ]
        inputs = json.dumps(to_builtins(rows))
        return {"format": FORMAT, "recipe": self.recipe.as_json(), "inputs": inputs}


def _is_stored(value: Any) -> bool:
    """Integers are the float network's own: nothing changes them, and its hash covers them.

    Modules that were quantized before keep what is no tensor in their state.
    """
    return isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex())


class _Input(Struct):
    """An activation quantizer as checkpoints hold it."""

    layers: tuple[str, ...]
    bits: int
    external: bool
    scale: float
    zero_point: int


def identity(network: Network) -> ModelIdentity:
    """What a recipe says of the network that it is for."""
    return ModelIdentity(network.name, network.weights_sha256)


def blank(network: Network) -> nn.Module:
    """A copy of the network's module to be quantized, channels last where its code allows that."""
    plain = copied(network.module).requires_grad_(False)
    if not any(layer.weight.ndim == 4 for layer in network.collection.layers):
        return plain
    quick = copied(plain).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    quick.register_forward_pre_hook(_to_channels_last)
    try:
        same = _agree(network, plain, quick)
    except EmqError:  # its code wants the usual order of memory, as `view` does
        return plain
    return quick if same else plain


@torch.no_grad()
def _agree(network: Network, plain: nn.Module, quick: nn.Module) -> bool:
    sides = [tensors(run(side, network.example, network.forward)) for side in (plain, quick)]
    pairs = [(a.double(), b.double()) for a, b in zip(*sides, strict=True)]
    return all(torch.allclose(a, b, 1e-3, 1e-4 * float(a.abs().max())) for a, b in pairs)


def _to_channels_last(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    def turned(arg: Any) -> Any:
        images = isinstance(arg, Tensor) and arg.ndim == 4
        return arg.contiguous(memory_format=torch.channels_last) if images else arg

    return tuple(map(turned, args))


@torch.no_grad()
def install(module: nn.Module, layer: Layer, values: Tensor) -> None:
    """Put values (C_out, fan_in) into this layer's weight in a copy of the network, in place."""
    weight = module.get_submodule(layer.name).weight
    assert isinstance(weight, nn.Parameter)
    weight.copy_(layer.unrows(values))


def load_quantized(path: str | Path, network: Network) -> Quantized:
    """The quantized network of a checkpoint, a file or its folder, made from `network`.

    Raises E301 if the file cannot be read, E302 if its tensors do not fit, E310 and E311 for its
    recipe.
    """
    path = _file(path)
    stored, metadata, diagnostics = _read(path)
    recipe = parse_recipe(metadata["recipe"], str(path))
    layers = network.collection.layers
    names = [layer.name for layer in layers]
    check_fits(recipe, identity(network), names, network.collection.why_none)
    misfit = partial(error, "E302", path=str(path))
    packed = metadata["format"] == FORMAT
    weights = {
        layer.name: _weight(layer, scheme, stored, misfit, packed)
        for layer in layers
        if (scheme := recipe.layers[layer.name].weight) is not None
    }
    module = blank(network)
    restore(module, stored, misfit)
    for layer in layers:
        if layer.name in weights:
            install(module, layer, weights[layer.name].values)
    inputs = _inputs(metadata["inputs"], str(path))
    attach(module, layers, [site for site, _ in inputs], {site.name: grid for site, grid in inputs})
    return Quantized(module, recipe, weights, inputs, (), (*diagnostics, *unreached(recipe)))


def unreached(recipe: Recipe) -> tuple[Diagnostic, ...]:
    """W615 for layers that no calibration image reached, as the recipe says."""
    if recipe.unreached is UNSET:
        return ()
    message = (
        f"no calibration image reaches {listed(recipe.unreached)}: "
        "the weights are rounded to the nearest value, and the inputs stay in float"
    )
    return (Diagnostic("W615", message, help=("give more images, or such as reach these layers",)),)


def _weight(
    layer: Layer,
    scheme: Scheme,
    stored: dict[str, Tensor],
    misfit: Callable[[str], EmqError],
    packed: bool,
) -> QuantizedWeight:
    """The integers of one layer, taken from the checkpoint's tensors. Raises E302."""
    codes, scale, zero_point = (
        stored.pop(f"{layer.name}.weight.{part}", torch.empty(0)) for part in PARTS
    )
    channels, integers = layer.channels_out, f"the checkpoint's integers of layer '{layer.name}'"
    form, bits = (channels, layer.fan_in), scheme.num_bits
    shapes = (packed_size(layer.numel, bits),) if packed else form, (channels,), (channels,)
    if (codes.shape, scale.shape, zero_point.shape) != shapes:
        raise misfit(f"{integers} are missing, or of another shape")
    grid = Grid(bits, scale, zero_point, int(scheme.symmetric))
    if codes.dtype == torch.uint8 and packed:
        codes = unpack(codes, bits, layer.numel).reshape(form)
    if codes.dtype != torch.uint8 or int(codes.max()) >= grid.levels:
        raise misfit(f"{integers} do not fit its {bits} bits")
    return QuantizedWeight(codes, grid)


def _inputs(text: str, path: str) -> list[tuple[Site, ActivationGrid]]:
    """Raises E302."""
    name = "the checkpoint's inputs"
    rows = typed(read_json(text, "E302", name, path), list[_Input], "E302", name, path)
    sites = [Site(row.layers, row.bits, row.external) for row in rows]
    grids = [ActivationGrid(row.bits, row.scale, row.zero_point) for row in rows]
    return list(zip(sites, grids, strict=True))


def read_recipe(path: str | Path) -> Recipe:
    """The recipe of a checkpoint. Raises E301, E310, E311."""
    path = _file(path)
    return parse_recipe(_read(path)[1]["recipe"], str(path))


def _file(path: str | Path) -> Path:
    path = as_path(path)
    return path / MODEL if is_folder(path) else path


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str], tuple[Diagnostic, ...]]:
    """Tensors, metadata and W610 of a checkpoint.

    Raises E301 for a file that is none or was edited, E311 if the recipe beside it is another's.
    """
    try:
        stored, metadata, whole = sealed.read(path)
    except OSError as reason:
        raise error("E301", f"cannot read the checkpoint: {reason}", path=str(path)) from reason
    except sealed.Changed as reason:
        message = f"the checkpoint cannot be believed: {reason}"
        raise error("E301", message, "quantize again", path=str(path)) from reason
    except ValueError as reason:
        raise _no_checkpoint(path) from reason
    if (
        metadata.get("format") not in (FORMAT, A_BYTE_EACH)
        or not {"recipe", "inputs"} <= metadata.keys()
    ):
        raise _no_checkpoint(path)
    _check_beside(path, metadata["recipe"])
    if whole:
        return stored, metadata, ()
    message = "the checkpoint is of an older version: whether it was edited cannot be told"
    return stored, metadata, (Diagnostic("W610", message, path=str(path)),)


def _check_beside(path: Path, text: str) -> None:
    """Raises E311 if the folder's recipe was edited, or belongs to another checkpoint."""
    beside = path.with_name(RECIPE)
    if path.name != MODEL or not is_file(beside):
        return
    if load_recipe(beside) != parse_recipe(text, str(path)):
        message = "the recipe says something else than the checkpoint beside it"
        help = "the checkpoint holds its own recipe: remove this file, or quantize again"
        raise error("E311", message, help, path=str(beside))


def _no_checkpoint(path: Path) -> EmqError:
    message = "the file is no checkpoint of `emqlang quantize`"
    return error("E301", message, "weights of a float network go to --weights", path=str(path))


@torch.no_grad()
def restore(
    module: nn.Module, stored: Mapping[str, Tensor], misfit: Callable[[str], EmqError]
) -> None:
    """Copy everything that was not quantized into the module, new biases too."""
    current = module.state_dict(keep_vars=True)
    for name, tensor in stored.items():
        parent, _, last = name.rpartition(".")
        if name in current and current[name].shape == tensor.shape:
            current[name].copy_(tensor)
            continue
        part = None if name in current or last != "bias" else module.get_submodule(parent)
        if part is None or getattr(part, "bias", 0) is not None:
            raise misfit(f"the checkpoint's tensor '{name}' does not fit the network")
        part.bias = nn.Parameter(tensor.clone(), requires_grad=False)
