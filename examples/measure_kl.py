"""Measured scores as a file for `emqlang assign --scores`: here, the KL divergence per layer.

How far the outputs move, in nats, when one layer alone has 2 to 8 bits, on 64 calibration images of
the embedded network. Any tool that measures layers one by one can write the same columns.
"""

from __future__ import annotations

import csv
import sys

import emqlang as emq

BITS = range(2, 9)

statistics = emq.collect("resnet18-fmnist", bits=list(BITS), images=64)
table = emq.score("output_kl", statistics)  # the KL divergence, negated: higher is better
layers = statistics.network.collection
writer = csv.writer(sys.stdout, lineterminator="\n")
writer.writerow(["name", "numel", "choice", "bits", "loss", "macs"])
for layer, macs, values in zip(layers.layers, layers.macs, table.values, strict=True):
    for bits, value in zip(BITS, values, strict=True):
        writer.writerow([layer.name, layer.numel, f"W{bits}", bits, f"{-value:.6g}", macs])
