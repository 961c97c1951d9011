"""Tables 4 to 7 and Figure 5 of the paper, on our networks.

emqlang experiment qat --out studies/qat
emqlang experiment figure5 --out studies/figure5 --plot docs/figures/figure5.svg
rival/bin/python studies/qat_brevitas.py
python studies/qat_tables.py    # the tables of docs/results/training-quantized.md
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

from qat_brevitas import SIDES
from rows import load, table

from emqlang.experiments import budgets
from emqlang.experiments.qat import RANDOM, ROWS
from emqlang.views.experiment import NOT_RUN

FOLDER = Path(__file__).parent
Figures = Mapping[str, float]


def trials(name: str) -> dict[str, list[Figures]]:
    """The figures of each seed, by variant."""
    found: dict[str, list[Figures]] = {}
    for path in sorted((FOLDER / name).glob("*/*.json")):
        trial = json.loads(path.read_text())
        found.setdefault(trial["variant"], []).append(trial["figures"])
    return found


def percent(values: Sequence[float]) -> str:
    spread = f" ± {100 * stdev(values):.2f}" if len(values) > 1 else ""
    return f"{100 * fmean(values):.2f}{spread}"


def rows() -> Iterator[tuple[object, ...]]:
    """One for each of the experiment's, in its order."""
    found = trials("qat")
    for name, row in ROWS.items():
        setting = row.setting
        bits = "as the paper" if setting.average is None else f"{setting.average:g}"
        method = f"{row.method}, median" if row.method == RANDOM else row.method
        head = (setting.network, bits, setting.act_bits, method)
        if name not in found:
            yield (*head, NOT_RUN, *[""] * 6)
            continue
        figures = {key: [one[key] for one in found[name] if key in one] for key in found[name][0]}
        yield (
            *head,
            f"{fmean(figures['bits']):.2f}",
            f"{fmean(figures['MiB']):.3f}",
            f"{100 * fmean(figures['float']):.2f}",
            percent(figures["quantized"]),
            percent(figures["trained"]) if "trained" in figures else "",
            f"{fmean(figures['recovered']):.0%}" if "recovered" in figures else "",
            len(found[name]),
        )


def accuracies() -> Iterator[tuple[str, ...]]:
    """Of each method, at each budget."""
    found = trials("figure5")
    for method in budgets.VARIANTS:
        if method not in found:
            yield (method, NOT_RUN, *[""] * (len(budgets.BUDGETS) - 1))
            continue
        names = (f"{share:g}" for share in budgets.BUDGETS)
        yield (method, *(percent([one[name] for one in found[method]]) for name in names))


def beside() -> Iterator[tuple[object, ...]]:
    """Ours, Brevitas', and the difference."""
    for row in load("qat_brevitas"):
        yield (
            row["state"],
            row["seeds"],
            *(f"{row[side]:.2%}" for side in SIDES),
            f"{row['difference']:+.2f}",
            f"{row['low']:+.2f} to {row['high']:+.2f}",
        )


def main() -> None:
    figures = ("bits", "MiB", "float", "quantized", "trained", "recovered", "seeds")
    header = ("network", "weights", "activations", "bits by", *figures)
    print(table(header, rows(), ", ".join(figures)))
    sizes = [f"{share:g} of {budgets.FLOAT}" for share in budgets.BUDGETS]
    print(table(("bits by", *sizes), accuracies(), ", ".join(sizes)))
    columns = ("seeds", *SIDES, "difference", "95 % interval")
    print(table(("", *columns), beside(), ", ".join(columns)))


if __name__ == "__main__":
    main()
