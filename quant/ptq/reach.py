"""Which layers the calibration images run, and which get other rows from image to image.

A router sends a layer some of the rows: mixtures of experts, early exits, adaptive depth. Once
quantized the network may send it others, so that what a routed layer is given and returns in float
and quantized is not compared row by row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn

from emqlang.quant.networks.batches import chunks, pass_through, rows
from emqlang.quant.networks.hooks import listening
from emqlang.quant.networks.layers import Layer, readers
from emqlang.quant.networks.nested import structure, tensors
from emqlang.quant.networks.signature import Forward

EXAMPLES: Final = 8  # images of one forward
LOOKED_AT: Final = 64  # images by which routed layers are known
Shapes = tuple[tuple[int, ...], ...]  # of what a layer returns, call by call


@dataclass(frozen=True)
class Reach:
    """What a network's layers see of some batches.

    examples   batches of few rows that together run every layer that any of the batches runs
    unreached  layers that no row reaches
    routed     layers that equal numbers of alike rows run on different numbers of their own
    """

    examples: tuple[Any, ...]
    unreached: tuple[str, ...]
    routed: frozenset[str]


def reach(
    module: nn.Module, layers: Sequence[Layer], batches: Iterable[Any], forward: Forward
) -> Reach:
    """All batches are looked at until every layer has been run. Raises E308."""
    names = [layer.name for layer in layers]
    seen: dict[Any, dict[str, Shapes]] = {}  # a kind of rows -> what each layer returned first
    examples, reached, routed = list[Any](), set[str](), set[str]()
    looked_at = 0
    for example in chunks(batches, EXAMPLES):
        if looked_at >= LOOKED_AT and len(reached) == len(names):
            break
        looked_at += rows(example)
        shapes = _shapes(module, layers, example, forward)
        if not examples or shapes.keys() - reached:
            examples.append(example)
        reached |= shapes.keys()
        first = seen.setdefault((rows(example), structure(example)), shapes)
        routed |= {name for name in names if shapes.get(name) != first.get(name)}
    return Reach(tuple(examples), tuple(n for n in names if n not in reached), frozenset(routed))


def _shapes(
    module: nn.Module, layers: Sequence[Layer], batch: Any, forward: Forward
) -> dict[str, Shapes]:
    """The shapes of what every layer returned that was given any rows."""
    seen: dict[str, Shapes] = {}

    def note(name: str, output: Any) -> None:
        leaf = tensors(output)[0]
        if leaf.numel():
            seen[name] = (*seen.get(name, ()), tuple(leaf.shape))

    with torch.no_grad(), listening(readers(module, layers), on_output=note):
        pass_through(module, batch, forward)
    return seen
