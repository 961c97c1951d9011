"""The integer network between its two borders: images to codes, and codes to scores."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from emqlang.quant.export.program import fed, trace
from emqlang.quant.integer.edges import Edge, Grid
from emqlang.quant.integer.lowering import Accumulator
from emqlang.quant.integer.marks import Mark
from emqlang.quant.integer.operations import Graph
from emqlang.quant.integer.rules import lower
from emqlang.quant.networks.batches import pass_through
from emqlang.quant.networks.nested import mapped, tensors
from emqlang.quant.networks.network import Network
from emqlang.quant.networks.signature import Signature
from emqlang.quant.ptq.quantized import Quantized


@dataclass(frozen=True)
class Borders:
    """Where floating point is: the quantizer of the images, and the step of the scores.

    place  which tensor of a batch is read
    like   what the network returns: its nest is used
    """

    input: Grid
    output: Edge
    place: int
    like: Any
    signature: Signature


class IntegerNetwork(nn.Module):
    """A quantized network in integer arithmetic, fed with batches as the network is.

    graph         codes of the images to codes of the scores, int32, with integer operations alone
    accumulators  each sum, with the bits that are proven to hold it
    """

    def __init__(
        self, graph: Graph, borders: Borders, accumulators: tuple[Accumulator, ...]
    ) -> None:
        super().__init__()
        self.graph, self.borders, self.accumulators = graph, borders, accumulators

    @property
    def signature(self) -> Signature:
        """How it is fed: with whole batches."""
        return replace(self.borders.signature, own=lambda module, batch: module(batch))

    @property
    def widest(self) -> Accumulator:
        """The layer's accumulator that takes the most bits, the first of them."""
        layers = [each for each in self.accumulators if not each.pooled]
        return max(layers, key=lambda each: each.bits)

    def encode(self, images: Tensor) -> Tensor:
        """Images to codes, int32, as the quantizer of the input has them."""
        grid = self.borders.input
        steps = images.div(float(grid.step)).round_().add_(grid.zero)
        return steps.clamp_(0, grid.highest).int()

    def decode(self, codes: Tensor) -> Tensor:
        """Codes of the scores to float32."""
        edge = self.borders.output
        return ((codes.long() - edge.zero).double() * float(edge.step)).float()

    @torch.no_grad()
    def forward(self, batch: Any) -> Any:
        """What the network returns for a batch."""
        images = tensors(fed(batch, self.borders.signature))[self.borders.place]
        scores = self.decode(self.graph(self.encode(images)))
        return mapped(lambda leaf: scores, self.borders.like)


def integer_network(network: Network, quantized: Quantized) -> IntegerNetwork:
    """A checkpoint's network in integers. Raises E411 and E412."""
    marks = {site.name: Mark(grid) for site, grid in quantized.inputs}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of torch's own use of its trees
        program = trace(network, quantized, marks)
        lowered = lower(program, network.collection.layers, quantized.weights)
    like = pass_through(quantized.module, network.example, network.forward)
    borders = Borders(lowered.input, lowered.output, lowered.place, like, network.signature)
    return IntegerNetwork(lowered.graph, borders, lowered.accumulators).eval()
