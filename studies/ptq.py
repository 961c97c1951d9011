"""Uniform bits: nearest, AdaRound and BRECQ on the embedded network, all 10,000 test images, A8.

python studies/ptq.py                    # our side, into studies/raw/ptq.jsonl
python studies/ptq_brevitas.py           # Brevitas' side, in an environment of its own
python studies/ptq_tables.py --raw       # both, with paired intervals
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from time import perf_counter

from msgspec.structs import replace
from ptq_task import CALIBRATION, DRAWS, arguments, calibration, correct, measured, network, record

from emqlang.quant.ptq.quantize import quantize
from emqlang.quant.ptq.quantized import identity
from emqlang.quant.ptq.recipe import Procedure, uniform

LONG = 10_000  # iterations of the one longer run, of 3 bits


def jobs(iterations: int) -> Iterator[tuple[str, int, int, int]]:
    """Method, bits, iterations and draw of every row."""
    yield "nearest", 8, 0, 0
    for draw in DRAWS:
        for bits in (4, 3, 2):
            yield "nearest", bits, 0, draw
            yield "adaround", bits, iterations, draw
            yield "brecq", bits, iterations, draw
    yield "adaround", 3, LONG, 0
    yield "brecq", 3, LONG, 0


def main() -> None:
    args = arguments(__doc__)
    known = measured(args.out)
    for job in jobs(args.iterations):
        if ("emqlang", *job) not in known and job[0].startswith(args.only):
            measure(args, *job)


def measure(args: Namespace, method: str, bits: int, iterations: int, draw: int) -> None:
    net = network()
    layers = net.collection.layers
    recipe = replace(uniform(identity(net), [layer.name for layer in layers], bits, 8), seed=draw)
    batches = calibration(args.data, draw)
    began = perf_counter()
    quantized = quantize(net, recipe, batches, Procedure(method, CALIBRATION, iterations or 1))
    seconds = perf_counter() - began
    parts = dict(quantized.module.named_modules())
    errors = {
        layer.name: float((parts[layer.name].weight - layer.weight).detach().square().mean())
        for layer in layers
    }
    row = {
        "side": "emqlang",
        "method": method,
        "bits": bits,
        "iterations": iterations,
        "draw": draw,
        "seconds": seconds,
        "weight_mse": errors,
    }
    record(args.out, row, correct(quantized.module))


if __name__ == "__main__":
    main()
