"""Accuracy of the bits that the evolved proxies assign, less that of the other proxies' bits.

    python studies/winner_bits.py            # measures what is missing, then writes the CSV file
    python studies/winner_bits.py --table    # table of docs/results/bits-of-evolved-proxies.md

Four networks, 3 bits on average, menu {2, 3, 4}, A8, nearest rounding, statistics of 256 of the
shipped images. Every configuration is calibrated on each of three draws of 1,024 training images
and tested on all 10,000 test images. Intervals as in `ptq_tables.py`.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from ptq_proxies import BITS, assigned, recipe
from ptq_tables import SEED, Marks, interval
from ptq_task import DRAWS, FOLDER_HELP, calibration, correct, marks_of, record
from rows import RAW, Row, append, load, raw, save, table

from emqlang.grammar.library import LIBRARY
from emqlang.quant.data.fashion_mnist import DEBIAN_DIR
from emqlang.quant.ptq.quantize import quantize
from emqlang.tasks.problem import Constraints, Problem
from emqlang.tasks.workbench import Workbench, WorkbenchOptions

MODELS = ("resnet18-fmnist", "resnet18-fmnist-s1", "vgg-fmnist", "mobilenetv2-fmnist")
EVOLVED = tuple(  # of sums over layers
    name for name, one in LIBRARY.items() if LIBRARY.shelf(name) == "evolved" and one.separable
)
SAME = "hawq_v2_published"  # its rows are those of `hawq_v2`, as it was called
OTHERS = tuple(name for name in LIBRARY if name not in (*EVOLVED, SAME) and LIBRARY[name].separable)


def measure(out: Path, folder: Path) -> None:
    """A row for every network, proxy and draw; equal bits are quantized once."""
    for model in MODELS:
        bench = Workbench(WorkbenchOptions(model=model, stat_images=256))
        problem = Problem.of(bench.network, bench.choices, Constraints(avg_bits=str(BITS)))
        for method, bits in assigned(bench, problem):
            for draw in DRAWS:
                known = [row for row in raw(out) if row["model"] == model and row["draw"] == draw]
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
                    append(out, same | row)
                    continue
                images = calibration(folder, draw)
                module = quantize(bench.network, recipe(bench.network, bits), images).module
                record(out, row, correct(module))


def differences(rows: Sequence[Row]) -> Iterator[Row]:
    """Each evolved proxy on each network beside the best other; how many others are above it."""
    rng = np.random.default_rng(SEED)
    for model in MODELS:
        marks = {name: _marks(rows, model, name) for name in (*EVOLVED, *OTHERS)}
        means = {name: float(own.mean()) for name, own in marks.items()}
        others = sorted(OTHERS, key=lambda name: -means[name])
        for name in EVOLVED:
            low, high = interval(marks[name] - marks[others[0]], rng)
            yield {
                "network": model,
                "proxy": name,
                "accuracy": means[name],
                "best_other": others[0],
                "its_accuracy": means[others[0]],
                "low": low,
                "high": high,
                "above": sum(means[other] > means[name] for other in others),
                "others": len(others),
            }


def _marks(rows: Sequence[Row], model: str, name: str) -> Marks:
    """Which images (draws, images) are right."""
    own = (row for row in rows if row["model"] == model and row["method"] == name)
    return np.array([marks_of(row) for row in sorted(own, key=lambda row: row["draw"])], float)


def print_table(rows: Sequence[Row]) -> None:
    lines = (
        (
            row["network"],
            row["proxy"],
            f"{row['accuracy']:.2%}",
            row["best_other"],
            f"{row['its_accuracy']:.2%}",
            f"{100 * (row['accuracy'] - row['its_accuracy']):+.2f}",
            f"{row['low']:+.2f} to {row['high']:+.2f}",
            f"{row['above']} of {row['others']}",
        )
        for row in rows
    )
    header = (
        "network",
        "bits by",
        "accuracy",
        "best other",
        "its accuracy",
        "difference",
        "95 % interval",
        "others above",
    )
    print(table(header, lines, "accuracy, its accuracy, difference"))


def main() -> None:
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=DEBIAN_DIR, help=FOLDER_HELP)
    parser.add_argument("--out", type=Path, default=RAW / "winner_bits.jsonl")
    parser.add_argument("--table", action="store_true", help="print the table, measure nothing")
    args = parser.parse_args()
    if not args.table:
        measure(args.out, args.data)
        save("winner_bits", differences(list(raw(args.out))))
    print_table(load("winner_bits"))


if __name__ == "__main__":
    main()
