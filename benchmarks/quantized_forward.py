"""A quantized network's forward against the plain one: `resnet18-fmnist`, W4A8, 2,000 images.

    python benchmarks/quantized_forward.py

Plain is the float network, batch norms folded, at its best of the usual and the channels-last
memory format. Rounds of all sides alternate; each side's figure is its median over the rounds.
"""

from __future__ import annotations

from copy import deepcopy
from statistics import median
from time import perf_counter

import torch
from machine import describe
from torch import Tensor, nn

from emqlang.quant.data.datasets import load_data
from emqlang.quant.networks.network import Network, load
from emqlang.quant.ptq.quantize import quantize
from emqlang.quant.ptq.quantized import identity
from emqlang.quant.ptq.recipe import Procedure, uniform

IMAGES, CALIBRATION, BATCH = 2000, 256, 64
ROUNDS = 11


def images(network: Network) -> list[Tensor]:
    assert network.spec is not None
    data = load_data(
        "fashion-mnist", network.spec.images, network.classes, count=IMAGES, split="test"
    )
    return [batch for batch, _ in data.batches(BATCH)]


@torch.inference_mode()
def seconds(module: nn.Module, batches: list[Tensor]) -> float:
    start = perf_counter()
    for batch in batches:
        module(batch)
    return perf_counter() - start


def main() -> None:
    network = load("resnet18-fmnist")
    batches = images(network)
    recipe = uniform(identity(network), [layer.name for layer in network.collection.layers], 4, 8)
    last = [batch.contiguous(memory_format=torch.channels_last) for batch in batches]
    sides = {
        "plain": (network.module, batches),
        "plain, channels last": (
            deepcopy(network.module).to(memory_format=torch.channels_last),
            last,
        ),
        "quantized": (
            quantize(network, recipe, batches, Procedure(images=CALIBRATION)).module,
            batches,
        ),
    }
    for threads in (1, 2):
        torch.set_num_threads(threads)
        times: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(ROUNDS + 1):  # the first warms up
            for name, (module, given) in sides.items():
                times[name].append(seconds(module, given))
        medians = {name: median(runs[1:]) for name, runs in times.items()}
        print(f"{threads} threads: {describe()}" if threads > 1 else f"1 thread: {describe()}")
        for name, value in medians.items():
            print(f"{name:22} {1000 * value:8.1f} ms")
        plain = min(value for name, value in medians.items() if name.startswith("plain"))
        print(f"quantized / plain at its best: {medians['quantized'] / plain:.2f} (target 1.3)")


if __name__ == "__main__":
    main()
