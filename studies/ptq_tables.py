"""The tables of docs/results/beside-brevitas.md on post-training quantization.

    python studies/ptq_tables.py            # from the CSV files in studies/results
    python studies/ptq_tables.py --raw      # writes those files anew, from the rows in studies/raw

The rows are those of `ptq.py`, `ptq_brevitas.py` and `ptq_proxies.py`. A difference is taken on the
same images and calibration draws; its 95 % interval resamples both, images among themselves and
draws among themselves, 2,000 times.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from math import sqrt

import numpy as np
from ptq_task import KEY, marks_of
from rows import RAW, Row, load, raw, save, table

RESAMPLES, SEED = 2000, 0
SIDES = ("emqlang", "Brevitas")
Marks = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Method = tuple[str, int]  # its name and its iterations


def interval(difference: Marks, rng: np.random.Generator) -> tuple[float, float]:
    """95 % interval of the mean of (draws, images), in points."""
    draws, images = difference.shape
    means = []
    for _ in range(RESAMPLES):
        times = rng.multinomial(images, np.full(images, 1 / images)) / images
        means.append((difference @ times)[rng.integers(draws, size=draws)].mean())
    low, high = np.quantile(means, [0.025, 0.975])
    return 100 * float(low), 100 * float(high)


def summarise() -> None:
    """Raw rows become the CSV files."""
    rows = list(raw(RAW / "ptq.jsonl"))
    save("ptq", ({name: row[name] for name in (*KEY, "accuracy")} for row in rows))
    save("ptq_differences", differences(rows))
    save("ptq_weights", weights(rows))
    proxies = raw(RAW / "proxies.jsonl")
    save("ptq_proxies", ({n: row[n] for n in ("draw", "method", "accuracy")} for row in proxies))


def differences(rows: Sequence[Row]) -> Iterator[Row]:
    """emqlang less Brevitas, method by method, and best against best."""
    rng = np.random.default_rng(SEED)
    for bits in (4, 3, 2):
        ours, theirs = (_by_method(rows, side, bits) for side in SIDES)
        ours = {method: draws for method, draws in ours.items() if method[1] <= 1000}
        pairs = [("", method, method) for method in ours if method in theirs]
        best = [max(side, key=lambda method: _accuracy(side[method])) for side in (ours, theirs)]
        pairs.append(("best: ", best[0], best[1]))
        for title, own, rival in pairs:
            names = {"bits": bits, "emqlang": title + own[0], "Brevitas": rival[0]}
            yield names | _difference(ours[own], theirs[rival], rng)


def _difference(own: Sequence[Row], other: Sequence[Row], rng: np.random.Generator) -> Row:
    """On the draws that both have."""
    draws = {row["draw"] for row in own} & {row["draw"] for row in other}
    marks = [
        np.array([marks_of(row) for row in side if row["draw"] in draws], float)
        for side in (own, other)
    ]
    difference = marks[0] - marks[1]
    low, high = interval(difference, rng)
    return {
        "difference": 100 * float(difference.mean()),
        "low": low,
        "high": high,
        "draws": len(draws),
    }


def weights(rows: Sequence[Row]) -> Iterator[Row]:
    """Mean squared error of each layer's weight at 3 bits, nearest rounding, of the first draw."""
    errors = {side: _draws(rows, side, 3, ("nearest", 0))[0]["weight_mse"] for side in SIDES}
    for layer in errors["emqlang"]:
        yield {"layer": layer} | {side: errors[side][layer] for side in SIDES}


def print_methods(rows: Sequence[Row]) -> None:
    """Accuracy of each side and method: mean over draws, and its range."""
    lines = []
    keys = {(row["bits"], row["method"], row["iterations"]) for row in rows}
    for bits, name, iterations in sorted(keys, key=lambda k: (-k[0], *k[1:])):
        sides = [_draws(rows, side, bits, (name, iterations)) for side in SIDES]
        counts = "/".join(str(len(side)) for side in sides if side)
        lines.append((bits, name, f"{iterations:,}", *map(_mean, sides), counts))
    right = "bits, iterations, emqlang, Brevitas, draws"
    print(table(("bits", "method", "iterations", *SIDES, "draws"), lines, right))


def print_differences(rows: Sequence[Row]) -> None:
    lines = (
        (
            row["bits"],
            row["emqlang"],
            row["Brevitas"],
            f"{row['difference']:+.2f}",
            f"{row['low']:+.2f} to {row['high']:+.2f}",
            row["draws"],
        )
        for row in rows
    )
    header = ("bits", *SIDES, "difference", "95 % interval", "draws")
    print(table(header, lines, "bits, difference, draws"))


def print_weights(rows: Sequence[Row]) -> None:
    lines = (
        (
            row["layer"],
            *(f"{row[side]:.3e}" for side in SIDES),
            f"{row[SIDES[1]] / row[SIDES[0]]:.3f}",
        )
        for row in rows
    )
    print(table(("layer", *SIDES, "ratio"), lines, "emqlang, Brevitas, ratio"))


def print_proxies(rows: Sequence[Row], name: str) -> None:
    """Accuracy of each proxy's bits, and its place among the random ones with a Wilson interval."""
    rows = [row for row in rows if row["draw"] == name]
    drawn = [row for row in rows if row["method"].startswith("random")]
    random = np.array([row["accuracy"] for row in drawn])
    lines = []
    for row in sorted(rows, key=lambda row: -row["accuracy"]):
        if row not in drawn:
            beaten = (random < row["accuracy"]).mean() + (random == row["accuracy"]).mean() / 2
            low, high = wilson(float(beaten), len(random))
            accuracy = f"{row['accuracy']:.2%}"
            lines.append((row["method"], accuracy, f"{beaten:.0%}", f"{low:.0%} to {high:.0%}"))
    best, median = random.max(), np.median(random)
    print(f"{name}: {len(random)} random configurations, best {best:.2%}, median {median:.2%}\n")
    header = ("bits by", "accuracy", "beats of the random ones", "95 % interval")
    print(table(header, lines, "accuracy, beats of the random ones"))


def wilson(share: float, count: int) -> tuple[float, float]:
    z = 1.96
    middle = share + z * z / (2 * count)
    spread = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (middle - spread) / (1 + z * z / count), (middle + spread) / (1 + z * z / count)


def _draws(rows: Sequence[Row], side: str, bits: int, method: Method) -> list[Row]:
    """The rows of a side's method, in the order of their draws."""
    key = (side, bits, *method)
    same = (r for r in rows if (r["side"], r["bits"], r["method"], r["iterations"]) == key)
    return sorted(same, key=lambda row: row["draw"])


def _by_method(rows: Sequence[Row], side: str, bits: int) -> dict[Method, list[Row]]:
    own = (row for row in rows if row["side"] == side and row["bits"] == bits)
    methods = sorted({(row["method"], row["iterations"]) for row in own})
    return {method: _draws(rows, side, bits, method) for method in methods}


def _accuracy(rows: Sequence[Row]) -> float:
    return float(np.mean([row["accuracy"] for row in rows]))


def _mean(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    values = [row["accuracy"] for row in rows]
    spread = f" ({min(values):.2%} to {max(values):.2%})" if len(values) > 1 else ""
    return f"{_accuracy(rows):.2%}{spread}"


def main() -> None:
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--raw", action="store_true", help="write the CSV files anew")
    if parser.parse_args().raw:
        summarise()
    print_methods(load("ptq"))
    print_differences(load("ptq_differences"))
    print_weights(load("ptq_weights"))
    for name in ("free", "ends"):
        print_proxies(load("ptq_proxies"), name)


if __name__ == "__main__":
    main()
