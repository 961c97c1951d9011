"""The tables of docs/results.md from the ledgers of `ptq.py`, `ptq_brevitas.py` and `ptq_proxies.py`, with paired intervals.

    python studies/ptq_table.py

A difference is taken on the same images and calibration draws; its 95 % interval resamples both, images among themselves and
draws among themselves, 2,000 times.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import sqrt
from typing import Any

import numpy as np
from ptq_task import RESULTS, marks_of, rows

DRAWN, SEED = 2000, 0
Row = dict[str, Any]
Marks = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def interval(difference: Marks, rng: np.random.Generator) -> tuple[float, float]:
    """Of the mean of (draws, images), in points."""
    draws, images = difference.shape
    means = []
    for _ in range(DRAWN):
        times = rng.multinomial(images, np.full(images, 1 / images)) / images
        means.append((difference @ times)[rng.integers(draws, size=draws)].mean())
    low, high = np.quantile(means, [0.025, 0.975])
    return 100 * float(low), 100 * float(high)


def print_methods(found: Sequence[Row]) -> None:
    """Accuracy of each side and method: mean over draws, and its range."""
    print(
        "| bits | method | iterations | emqlang | Brevitas | draws |\n|---:|---|---:|---:|---:|---:|"
    )
    keys = sorted(
        {(row["bits"], row["method"], row["iterations"]) for row in found},
        key=lambda k: (-k[0], k[1], k[2]),
    )
    for bits, method, iterations in keys:
        own, rival = (
            _rows(found, side, bits, method, iterations) for side in ("emqlang", "Brevitas")
        )
        counts = "/".join(str(len(side)) for side in (own, rival) if side)
        print(f"| {bits} | {method} | {iterations:,} | {_mean(own)} | {_mean(rival)} | {counts} |")


def print_differences(found: Sequence[Row]) -> None:
    """emqlang minus Brevitas, method by method and best against best."""
    rng = np.random.default_rng(SEED)
    print(
        "\n| bits | emqlang | Brevitas | difference | 95 % interval | draws |\n|---:|---|---|---:|---|---:|"
    )
    for bits in (4, 3, 2):
        sides = {side: _keys(found, side, bits) for side in ("emqlang", "Brevitas")}
        sides["emqlang"] = [key for key in sides["emqlang"] if key[1] <= 1000]
        pairs = [(key, key) for key in sides["emqlang"] if key in sides["Brevitas"]]
        if sides["Brevitas"]:
            best = [
                max(
                    sides[side],
                    key=lambda key, side=side: _accuracy(_rows(found, side, bits, *key)),
                )
                for side in sides
            ]
            pairs.append((best[0], best[1]))
        for number, (own_key, rival_key) in enumerate(pairs):
            own, rival = (
                _rows(found, s, bits, *k)
                for s, k in (("emqlang", own_key), ("Brevitas", rival_key))
            )
            draws = sorted({r["draw"] for r in own} & {r["draw"] for r in rival})
            marks = [
                np.array([marks_of(r) for r in side if r["draw"] in draws], float)
                for side in (own, rival)
            ]
            low, high = interval(marks[0] - marks[1], rng)
            title = ("best: " if number == len(pairs) - 1 else "") + own_key[0]
            mean = 100 * float((marks[0] - marks[1]).mean())
            print(
                f"| {bits} | {title} | {rival_key[0]} | {mean:+.2f} | {low:+.2f} to {high:+.2f} | {len(draws)} |"
            )


def print_weights(found: Sequence[Row]) -> None:
    """Mean squared error of each layer's weight at 3 bits, nearest rounding."""
    own, rival = (_rows(found, side, 3, "nearest", 0) for side in ("emqlang", "Brevitas"))
    if not own or not rival:
        return
    print("\n| layer | emqlang | Brevitas | ratio |\n|---|---:|---:|---:|")
    for layer, error in own[0]["weight_mse"].items():
        other = rival[0]["weight_mse"][layer]
        print(f"| {layer} | {error:.3e} | {other:.3e} | {other / error:.3f} |")


def print_proxies(found: Sequence[Row]) -> None:
    """Accuracy of each proxy's bits, and its place among the random configurations with a Wilson interval."""
    for name in dict.fromkeys(row["draw"] for row in found):
        own = [row for row in found if row["draw"] == name]
        random = np.array([row["accuracy"] for row in own if row["method"].startswith("random")])
        print(
            f"\n{name}: {len(random)} random configurations, best {random.max():.2%}, median {np.median(random):.2%}\n"
        )
        print(
            "| bits by | accuracy | beats of the random ones | 95 % interval |\n|---|---:|---:|---|"
        )
        chosen = [row for row in own if not row["method"].startswith("random")]
        for row in sorted(chosen, key=lambda row: -row["accuracy"]):
            share = float(
                (random < row["accuracy"]).mean() + (random == row["accuracy"]).mean() / 2
            )
            low, high = wilson(share, len(random))
            print(
                f"| {row['method']} | {row['accuracy']:.2%} | {share:.0%} | {low:.0%} to {high:.0%} |"
            )


def wilson(share: float, count: int) -> tuple[float, float]:
    z = 1.96
    middle, spread = (
        share + z * z / (2 * count),
        z * sqrt(share * (1 - share) / count + z * z / (4 * count * count)),
    )
    return (middle - spread) / (1 + z * z / count), (middle + spread) / (1 + z * z / count)


def _rows(found: Iterable[Row], side: str, bits: int, method: str, iterations: int) -> list[Row]:
    key = (side, bits, method, iterations)
    return sorted(
        (r for r in found if (r["side"], r["bits"], r["method"], r["iterations"]) == key),
        key=lambda r: r["draw"],
    )


def _keys(found: Iterable[Row], side: str, bits: int) -> list[tuple[str, int]]:
    """Methods and iterations of a side."""
    return sorted(
        {
            (row["method"], row["iterations"])
            for row in found
            if row["side"] == side and row["bits"] == bits
        }
    )


def _accuracy(found: Sequence[Row]) -> float:
    return float(np.mean([row["accuracy"] for row in found]))


def _mean(found: Sequence[Row]) -> str:
    if not found:
        return ""
    values = [row["accuracy"] for row in found]
    spread = f" ({min(values):.2%} to {max(values):.2%})" if len(values) > 1 else ""
    return f"{_accuracy(found):.2%}{spread}"


def main() -> None:
    found = list(rows(RESULTS / "ptq.jsonl"))
    print_methods(found)
    print_differences(found)
    print_weights(found)
    print_proxies(list(rows(RESULTS / "proxies.jsonl")))


if __name__ == "__main__":
    main()
