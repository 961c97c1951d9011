"""Batch norms folded into the layer before them, where one forward proves that this is safe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.networks.layers import Layer, Norm, norms
from emqlang.quant.networks.nested import tensors
from emqlang.quant.networks.tracing import Trace

TOLERANCE: Final = 1e-5  # of the largest output, before against after
Undo = Callable[[], None]


def fold(
    model: nn.Module,
    layers: Sequence[Layer],
    trace: Trace,
    before: Any,
    forward: Callable[[], Any],
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Fold, in place, every batch norm that may be.

    A batch norm may be folded if its input is the one product of one layer, which nothing else
    reads, and if `forward()`, the network on an example, still gives what it gave `before`. Returns
    the layer of each one folded, and the names of those that stay.
    """
    modules = norms(model)
    pairs = {
        norm: layer
        for norm in trace.norms
        if (layer := _feeder(norm, modules[norm], layers, trace)) is not None
    }
    undos = [_fold_one(model, modules[norm], layer) for norm, layer in pairs.items()]
    if not same(before, forward):
        for undo in undos:
            undo()
        pairs = {
            norm: layer
            for norm, layer in pairs.items()
            if _kept(model, modules[norm], layer, before, forward)
        }
    folded = {norm: layer.name for norm, layer in pairs.items()}
    return folded, tuple(norm for norm in trace.norms if norm not in pairs)


def _feeder(norm: str, module: Norm, layers: Sequence[Layer], trace: Trace) -> Layer | None:
    """The layer whose output is this batch norm's only input and has no other reader."""
    inputs = trace.norms[norm]
    layer = next((layer for layer in layers if layer.name == inputs[0].producer), None)
    usual = type(module).forward in (Norm.forward, nn.SyncBatchNorm.forward)
    if layer is None or not usual or module.running_var is None:
        return None
    products, weight = trace.products[layer.name], trace.weights[layer.name]
    alone = len(inputs) == products == inputs[0].uses == weight.uses == 1
    return layer if alone and module.num_features == layer.channels_out else None


def _kept(
    model: nn.Module, norm: Norm, layer: Layer, before: Any, forward: Callable[[], Any]
) -> bool:
    """Fold one, and undo it if the network's output moves."""
    undo = _fold_one(model, norm, layer)
    kept = same(before, forward)
    if not kept:
        undo()
    return kept


@torch.no_grad()
def _fold_one(model: nn.Module, norm: Norm, layer: Layer) -> Undo:
    """W' = W s and b' = (b - mean) s + beta with s = gamma / sqrt(var + eps), in float64.

    The norm becomes the identity.
    """
    weight, bias = layer.weight, layer.bias
    scale = torch.rsqrt(_double(norm.running_var) + norm.eps)
    if norm.affine:
        scale = scale * _double(norm.weight)
    shift = (0 if bias is None else _double(bias)) - _double(norm.running_mean)
    shift = shift * scale + (_double(norm.bias) if norm.affine else 0)
    folded = layer.unrows(layer.rows(_double(weight)) * scale[:, None])
    layer.module.weight = nn.Parameter(folded.to(weight.dtype), requires_grad=weight.requires_grad)
    layer.module.bias = nn.Parameter(shift.to(weight.dtype), requires_grad=weight.requires_grad)
    places = _places(model, norm)
    identity = nn.Identity()
    for parent, name in places:
        setattr(parent, name, identity)

    def undo() -> None:
        layer.module.weight = weight
        layer.module.register_parameter("bias", bias)
        for parent, name in places:
            setattr(parent, name, norm)

    return undo


def _places(model: nn.Module, module: nn.Module) -> list[tuple[nn.Module, str]]:
    """Every parent and attribute that holds this module."""
    return [
        (parent, name)
        for parent in model.modules()
        for name, child in parent._modules.items()
        if child is module
    ]


def _double(tensor: Any) -> Tensor:
    result: Tensor = tensor.detach().double()
    return result


def same(before: Any, forward: Callable[[], Any]) -> bool:
    """Whether all output tensors agree to the tolerance; those of a network that fails do not."""
    try:
        after = forward()
    except EmqError:
        return False
    old, new = tensors(before), tensors(after)
    return len(old) == len(new) and all(map(_close, old, new))


def _close(old: Tensor, new: Tensor) -> bool:
    if old.shape != new.shape:
        return False
    if not old.is_floating_point() or not old.numel():
        return torch.equal(old, new)
    return bool((old.double() - new.double()).abs().max() <= TOLERANCE * old.double().abs().max())
