"""Networks made ready for quantization, each with batches that it takes."""

from __future__ import annotations

from typing import Any

import attention
import networks
import torch
from torch import Tensor, nn

from emqlang.quant.networks.network import Network, prepare
from emqlang.quant.ptq.quantize import quantize
from emqlang.quant.ptq.quantized import Quantized, identity
from emqlang.quant.ptq.recipe import Procedure, Recipe, uniform
from emqlang.quant.ptq.rounding import SCHEDULE, Finished, Report, Schedule

KINDS: tuple[type[nn.Module], ...] = (
    *networks.SHAPES,
    attention.FusedViT,
    attention.Decoder,
)


def inputs(kind: type[nn.Module], count: int, seed: int = 1) -> Tensor:
    """Random images, or texts, for one of KINDS."""
    if kind is attention.Decoder:
        return attention.texts(count, seed)
    shape = networks.SHAPES.get(kind, (3, 8, 8))
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


def batches(kind: type[nn.Module], count: int = 2, size: int = 16) -> list[Tensor]:
    return [inputs(kind, size, seed) for seed in range(count)]


def ready(kind: type[nn.Module]) -> Network:
    return prepare(networks.seeded(kind), inputs(kind, 2))


def recipe_for(network: Network, bits: int = 3, act_bits: int | None = 8) -> Recipe:
    """The same bits everywhere."""
    return uniform(
        identity(network), [layer.name for layer in network.collection.layers], bits, act_bits
    )


def quantized(
    network: Network,
    data: list[Any],
    bits: int = 3,
    act_bits: int | None = 8,
    *,
    schedule: Schedule = SCHEDULE,
    finished: Finished | None = None,
    progress: Report = lambda progress: None,
    **procedure: Any,
) -> Quantized:
    """By nearest rounding, calibrated on all of the data, unless the procedure says otherwise."""
    return quantize(
        network,
        recipe_for(network, bits, act_bits),
        data,
        Procedure(**{"images": sum(map(len, data)), **procedure}),
        schedule=schedule,
        finished=finished,
        progress=progress,
    )
