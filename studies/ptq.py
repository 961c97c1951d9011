"""Uniform bits after training: nearest, AdaRound and BRECQ on the embedded network, all 10,000 test images, A8.

python studies/ptq.py                    # our side, into studies/results/ptq.jsonl
python studies/ptq_brevitas.py           # Brevitas' side, in an environment of its own
python studies/ptq_table.py              # both, with paired intervals
"""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter

from ptq_task import CALIBRATION, DRAWS, arguments, calibration, done, network, record, right

from emqlang.quant.ptq.quantize import quantize
from emqlang.quant.ptq.quantized import identity
from emqlang.quant.ptq.recipe import uniform

LONG = 10_000  # iterations of the one longer run, of 3 bits


def main() -> None:
    given = arguments(__doc__)
    net = network()
    layers = net.collection.layers
    jobs = [("nearest", 8, 0, 0)]
    for draw in DRAWS:
        for bits in (4, 3, 2):
            jobs += [
                ("nearest", bits, 0, draw),
                ("adaround", bits, given.iterations, draw),
                ("brecq", bits, given.iterations, draw),
            ]
    jobs += [(method, 3, LONG, 0) for method in ("adaround", "brecq")]
    known = done(given.out)
    for method, bits, iterations, draw in jobs:
        if ("emqlang", method, bits, iterations, draw) in known or not method.startswith(
            given.only
        ):
            continue
        began = perf_counter()
        recipe = replace(
            uniform(identity(net), [layer.name for layer in layers], bits, 8), seed=draw
        )
        batches = calibration(given.data, draw)
        quantized = quantize(
            net, recipe, batches, rounding=method, images=CALIBRATION, iterations=iterations or 1
        )
        seconds = perf_counter() - began
        row = {
            "side": "emqlang",
            "method": method,
            "bits": bits,
            "iterations": iterations,
            "draw": draw,
            "seconds": seconds,
        }
        parts = dict(quantized.module.named_modules())
        errors = {
            layer.name: float((parts[layer.name].weight - layer.weight).detach().square().mean())
            for layer in layers
        }
        record(given.out, row | {"weight_mse": errors}, right(quantized.module))


if __name__ == "__main__":
    main()
