"""The networks and the data that were given, made ready."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from emqlang.api.words import in_python
from emqlang.grammar.diagnostics import Diagnostic
from emqlang.quant.data.datasets import Dataset, load_data
from emqlang.quant.data.images import IMAGENET, ImageFormat
from emqlang.quant.data.loader import Wanted
from emqlang.quant.networks import network as networks
from emqlang.quant.networks import notices
from emqlang.quant.networks.batches import RECORDED, pass_through, slice_rows
from emqlang.quant.networks.folding import same
from emqlang.quant.networks.independence import variation
from emqlang.quant.networks.network import Network, own_shape, prepare_for
from emqlang.quant.networks.plain import copied
from emqlang.quant.networks.signature import Forward, Signature
from emqlang.quant.ptq.quantized import Quantized
from emqlang.quant.user_code import foreign

Model = nn.Module | Network | str
Data = Iterable[Any] | str
load = in_python(networks.load)


def module(model: Model | Quantized) -> nn.Module:
    """What is evaluated: a module is taken as it is, in eval mode, and left as it was."""
    if isinstance(model, Quantized | Network):
        return model.module
    if isinstance(model, str):
        return load(model).module
    with foreign("E308", f"copying {type(model).__name__}"):
        return copied(model).eval()


def varying(module: nn.Module, batch: Any, signature: Signature) -> list[Diagnostic]:
    """W614 or W619 where the network's answers for some rows of a batch change with something."""
    rows, forward = slice_rows(batch, 0, RECORDED), signature.forward
    with torch.no_grad():
        outputs = pass_through(module, rows, forward)
        steady = same(outputs, lambda: pass_through(module, rows, forward, seed=1))
    return list(notices.varying(variation(steady, module, rows, forward)))


def parameters(module: nn.Module | None) -> list[tuple[str, bool]]:
    """The names of a module's parameters, and whether they have no values yet."""
    found = () if module is None else module.named_parameters()
    return [(name, is_lazy(parameter)) for name, parameter in found]


def named(data: str, network: Network, split: Any, count: int | None) -> Dataset:
    """The images that a name as `--data` takes it stands for."""
    images = network.spec.images if network.spec else ImageFormat.of(network.input_shape)
    return load_data(
        data,
        images,
        network.classes,
        count=count,
        split=split,
        net=network.module,
        wanted=Wanted(network.input_shape, network.example, network.signature),
        option="images=",
    )


def ready(model: Model, batch: Any, forward: Forward | None, data: Data = ()) -> Network:
    """The network made ready.

    One of your own is recorded on a few rows of a batch, and on more of the data where those do not
    use every layer.
    """
    if isinstance(model, Network):
        if forward is None or batch is None:
            return model
        signature = dataclasses.replace(model.signature, own=forward)
        example = slice_rows(batch, 0, RECORDED)
        return dataclasses.replace(model, signature=signature, example=example)
    if isinstance(model, str):
        return load(model, data=data)
    if batch is None:
        shape = own_shape(model) or IMAGENET.shape
        batch = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    rows = slice_rows(batch, 0, RECORDED)
    return prepare_for(model, rows, data, signature=Signature.of(model, own=forward))


def stream(data: Iterable[Any]) -> Dataset:
    """The batches as statistics read them."""
    return Dataset("the data", "the data given", None, False, lambda: iter(data))
