"""Accuracy of the bits that the evolved proxies assign at 3 bits on average, less that of every other library proxy's bits.

    python studies/winner_bits.py            # into studies/results/winner_bits.jsonl; goes on where it was stopped
    python studies/winner_bits.py --table    # its table for docs/results.md

Four networks, menu {2, 3, 4}, A8, nearest rounding, statistics of 256 of the shipped images; every configuration is calibrated on
each of three draws of 1,024 training images and tested on all 10,000 test images. Intervals as in `ptq_table.py`.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ptq_proxies import BITS, recipe
from ptq_table import DRAWN, SEED, interval
from ptq_task import DRAWS, RESULTS, calibration, marks_of, record, right, rows

from emqlang.grammar.library import LIBRARY
from emqlang.quant.models.training import DEBIAN_DIR
from emqlang.quant.ptq.quantize import quantize
from emqlang.tasks.problem import Problem, Wish
from emqlang.tasks.workbench import Settings, Workbench

MODELS = ("resnet18-fmnist", "resnet18-fmnist-s1", "vgg-fmnist", "mobilenetv2-fmnist")
EVOLVED = tuple(name for name in LIBRARY if LIBRARY.shelf(name) == "evolved")


def assigned(bench: Workbench) -> Iterator[tuple[str, list[int]]]:
    """Every proxy's bits of every group."""
    problem = Problem.of(bench.network, bench.choices, Wish({"avg-bits": str(BITS)}))
    widths = np.array([choice.weight_bits for choice in problem.menu])
    for name, program in LIBRARY.items():
        table = bench.evaluate([program]).scored[0].table
        yield name, widths[list(problem.solve(problem.scores(table)).choices)].tolist()


def measure(out: Path, folder: Path) -> None:
    """A row for every network, proxy and draw; equal bits are quantized once."""
    for model in MODELS:
        bench = Workbench(Settings(model=model, stat_images=256))
        for method, bits in assigned(bench):
            for draw in DRAWS:
                known = [row for row in rows(out) if row["model"] == model and row["draw"] == draw]
                if any(row["method"] == method for row in known):
                    continue
                row = {
                    "side": "emqlang",
                    "model": model,
                    "method": method,
                    "bits": BITS,
                    "iterations": 0,
                    "draw": draw,
                    "config": bits,
                }
                same = next((one for one in known if one["config"] == bits), None)
                if same is not None:
                    with out.open("a") as file:
                        file.write(json.dumps({**same, **row}) + "\n")
                    continue
                images = calibration(folder, draw)
                record(
                    out,
                    row,
                    right(quantize(bench.network, recipe(bench.network, bits), images).module),
                )


def print_table(found: list[dict[str, Any]]) -> None:
    """For each network and evolved proxy: accuracy, and what it is above the best other proxy and how many it is below."""
    rng = np.random.default_rng(SEED)
    print(
        "| network | bits by | accuracy | best other | its accuracy | difference | 95 % interval | others above |"
    )
    print("|---|---|---:|---|---:|---:|---|---|")
    for model in MODELS:
        marks = {name: _marks(found, model, name) for name in LIBRARY}
        means = {name: float(own.mean()) for name, own in marks.items()}
        others = sorted(
            (name for name in LIBRARY if name not in EVOLVED), key=lambda name: -means[name]
        )
        for name in EVOLVED:
            best = others[0]
            low, high = interval(marks[name] - marks[best], rng)
            above = [other for other in others if means[other] > means[name]]
            print(
                f"| {model} | {name} | {means[name]:.2%} | {best} | {means[best]:.2%} | {100 * (means[name] - means[best]):+.2f} "
                f"| {low:+.2f} to {high:+.2f} | {len(above)} of {len(others)} |"
            )


def _marks(
    found: list[dict[str, Any]], model: str, name: str
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Which images (draws, images) are right."""
    own = sorted(
        (row for row in found if row["model"] == model and row["method"] == name),
        key=lambda row: row["draw"],
    )
    return np.array([marks_of(row) for row in own], float)


def main() -> None:
    parser = ArgumentParser(description=f"{(__doc__ or '').splitlines()[0]} {DRAWN:,} resamples.")
    parser.add_argument(
        "--data", type=Path, default=DEBIAN_DIR, help="folder of Fashion-MNIST's four .gz files"
    )
    parser.add_argument("--out", type=Path, default=RESULTS / "winner_bits.jsonl")
    parser.add_argument("--table", action="store_true", help="print the table, measure nothing")
    given = parser.parse_args()
    if not given.table:
        measure(given.out, given.data)
    print_table(list(rows(given.out)))


if __name__ == "__main__":
    main()
