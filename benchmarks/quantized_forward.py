"""A quantized network's forward against the plain one: `resnet18-fmnist`, W4A8, 512 images.

    python benchmarks/quantized_forward.py

Plain is the float network, batch norms folded, at its best of the usual and the channels-last
memory format.
"""

from __future__ import annotations

from copy import deepcopy
from functools import partial

import harness
import torch
from harness import Benchmark, Case, Side
from machine import threads
from torch import Tensor, nn

from emqlang.quant.data.datasets import load_data
from emqlang.quant.networks.network import Network, load
from emqlang.quant.ptq.quantize import quantize
from emqlang.quant.ptq.quantized import identity
from emqlang.quant.ptq.recipe import Procedure, uniform

IMAGES, CALIBRATION, BATCH = 512, 256, 64


def images(network: Network) -> list[Tensor]:
    assert network.spec is not None
    data = load_data(
        "fashion-mnist", network.spec.images, network.classes, count=IMAGES, split="test"
    )
    return [batch for batch, _ in data.batches(BATCH)]


def _case(count: int) -> Case:
    network = load("resnet18-fmnist")
    batches = images(network)
    recipe = uniform(identity(network), [layer.name for layer in network.collection.layers], 4, 8)
    quantized = quantize(network, recipe, batches, Procedure(images=CALIBRATION)).module
    last = [batch.contiguous(memory_format=torch.channels_last) for batch in batches]
    other = deepcopy(network.module).to(memory_format=torch.channels_last)

    def side(name: str, module: nn.Module, given: list[Tensor]) -> Side:
        @torch.inference_mode()
        def work() -> None:
            for batch in given:
                module(batch)

        return Side(name, work, partial(torch.set_num_threads, count))

    rivals = (side("plain", network.module, batches), side("channels last", other, last))
    return Case(side("quantized", quantized, batches), rivals)


BENCHMARKS = tuple(
    Benchmark(f"quantized against plain, {threads(count)}", partial(_case, count), "at most", 1.3)
    for count in (1, 2)
)

if __name__ == "__main__":
    harness.main(BENCHMARKS)
