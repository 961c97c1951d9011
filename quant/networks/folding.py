"""Batch norms folded into the layer before them, where one forward proves that this is safe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, Final

import torch
from torch import Tensor, nn

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.networks.layers import Layer, Norm, norms
from emqlang.quant.networks.nested import tensors
from emqlang.quant.networks.tracing import Trace

TOLERANCE: Final = 1e-5  # of the largest output, before against after
MOVES_THE_OUTPUT: Final = "without it the network puts out something else"
Undo = Callable[[], None]


def fold(
    model: nn.Module,
    layers: Sequence[Layer],
    traces: Sequence[Trace],
    before: Any,
    forward: Callable[[], Any],
) -> tuple[dict[str, str], dict[str, str]]:
    """Fold, in place, every batch norm that may be.

    A batch norm may be folded if its input is the one product of one layer, which nothing else
    reads, and if `forward()`, the network on an example, still gives what it gave `before`. What
    else a subclass computes, such as an activation, stays. Returns the layer of each one folded,
    and why the others were not.
    """
    modules = norms(model)
    feeders: dict[str, Layer] = {}
    reasons: dict[str, str] = {}
    for norm in dict.fromkeys(name for trace in traces for name in trace.norms):
        found = _feeder(norm, modules[norm], layers, [t for t in traces if norm in t.norms])
        if isinstance(found, str):
            reasons[norm] = found
        else:
            feeders[norm] = found
    undos = [_fold_one(model, modules[norm], layer, 0) for norm, layer in feeders.items()]
    if not same(before, forward):
        for undo in undos:
            undo()
        for norm, layer in tuple(feeders.items()):
            if not _kept(model, modules[norm], layer, before, forward):
                del feeders[norm]
                reasons[norm] = MOVES_THE_OUTPUT
    folded = {norm: layer.name for norm, layer in feeders.items()}
    return folded, reasons


def _feeder(
    norm: str, module: Norm, layers: Sequence[Layer], traces: Sequence[Trace]
) -> Layer | str:
    """The layer whose output is this batch norm's only input and has no other reader, or why none.

    traces  those in which the batch norm ran
    """
    if module.running_var is None:
        return "it has no running statistics"
    inputs = [given for trace in traces for given in trace.norms[norm]]
    layer = next((layer for layer in layers if layer.name == inputs[0].producer), None)
    if layer is None or any(given.producer != layer.name for given in inputs):
        return "what it reads is not put out by one layer"
    if any(len(trace.norms[norm]) > 1 for trace in traces):
        return "it runs several times"
    if any(given.uses > 1 for given in inputs):
        return f"it is not alone in reading what '{layer.name}' puts out"
    uses = [(trace.products[layer.name], trace.weights[layer.name].uses) for trace in traces]
    if any(pair != (1, 1) for pair in uses):
        return f"the weight of '{layer.name}' is used several times"
    if module.num_features != layer.channels_out:
        return f"its channels are not those of '{layer.name}'"
    return layer


def _kept(
    model: nn.Module, norm: Norm, layer: Layer, before: Any, forward: Callable[[], Any]
) -> bool:
    """Fold one, with the first rest that keeps the network's output; else leave it as it is."""
    for rest in range(len(_rests(norm))):
        undo = _fold_one(model, norm, layer, rest)
        if same(before, forward):
            return True
        undo()
    return False


def _rests(norm: Norm) -> list[nn.Module]:
    """What may stay of a batch norm: nothing; its parts in order; all of it, without an effect."""
    if type(norm).forward in (Norm.forward, nn.SyncBatchNorm.forward):
        return [nn.Identity()]
    neutral = deepcopy(norm)
    neutral.affine = False
    for name in ("weight", "bias"):
        neutral.register_parameter(name, None)
    neutral.running_mean = torch.zeros_like(_given(norm.running_mean))
    neutral.running_var = torch.full_like(_given(norm.running_var), 1 - norm.eps)
    parts = list(norm.children())
    return [*([nn.Sequential(*parts)] if parts else []), neutral]


@torch.no_grad()
def _fold_one(model: nn.Module, norm: Norm, layer: Layer, rest: int) -> Undo:
    """W' = W s and b' = (b - mean) s + beta with s = gamma / sqrt(var + eps), in float64.

    rest  which of `_rests` takes the norm's place
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
    remainder = _rests(norm)[rest]
    for parent, name in places:
        setattr(parent, name, remainder)

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
    return _given(tensor).detach().double()


def _given(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    return tensor


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
