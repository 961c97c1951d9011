"""Accuracy of the bits that proxies choose, beside uniform bits and a rival's.

    python studies/bits.py            # measures what is missing, then writes the CSV files
    python studies/bits.py --table    # tables of docs/results/which-bits-are-best.md

Statistics are of 256 of the shipped images, or as many as a proxy's entry says, with 4 labels an
image drawn for the scores across layers. Every configuration is calibrated on each of three draws
of 1,024 training images (`fashion_mnist.py`) and tested on all 10,000 test images: nearest
rounding, mse ranges, A8, the first and the last layer in the menu. The rival's are those that
`modelopt_bits.py` has added to `raw/bits_chosen.jsonl`. Bits that several methods choose are
measured once.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import groupby
from statistics import fmean, stdev

import fashion_mnist
import numpy as np
from ptq_tables import SEED, interval
from ptq_task import marks_of, packed
from rows import RAW, Row, append, load, raw, save, table

from emqlang.grammar.diagnostics import EmqError
from emqlang.grammar.library import LIBRARY
from emqlang.quant.bits.uniform import uniform
from emqlang.quant.data.datasets import SHIPPED
from emqlang.quant.networks.network import Network
from emqlang.quant.networks.network import load as load_network
from emqlang.quant.tables.row_builder import RowBuilder
from emqlang.quant.tables.sampling import by_prefix, cuts
from emqlang.quant.tables.spec import Spec
from emqlang.tasks.eval import evaluate
from emqlang.tasks.objective import objective
from emqlang.tasks.problem import Constraints, Problem
from emqlang.tasks.workbench import Workbench, WorkbenchOptions

ACROSS = ("fisher_cross", "fisher_length", "fisher_root", "fisher_log")
SPREADS = ("length_spread", "shift_spread")  # are not in the CSV files yet
ADDITIVE = (
    "fisher_form",
    "fisher_error",
    "output_kl",
    "output_mse",
    "loss_increase",
    "hawq_v2",
    "x2_error",
    "evolved",
    "emq",
    "bit_sum",
)
UNIFORM = "uniform"
RIVALS = ("modelopt gradient", "modelopt kl_div")
OURS = (*ACROSS, *SPREADS, *ADDITIVE, UNIFORM)
METHODS = (*OURS, *RIVALS)
DRAWS, BEHIND = (1, 2, 3), 0.1  # points below the best that are counted
CHOSEN, OUT = RAW / "bits_chosen.jsonl", RAW / "bits.jsonl"


@dataclass(frozen=True)
class Case:
    """A network, its menu of weight bits, and how many a weight has on average."""

    network: str
    menu: str
    average: float

    @property
    def row(self) -> Row:
        return {"network": self.network, "menu": self.menu, "average": self.average}


NARROW, WIDE = "2,3,4", "2,3,4,5,6,7,8"
NETWORKS = (
    "resnet18-fmnist",
    "mobilenetv2-fmnist",
    "resnet18-fmnist-s1",
    "vgg-fmnist",
    "vit-fmnist",
)
CASES = (
    *(Case(name, NARROW, average) for name in NETWORKS for average in (2.5, 2.75, 3, 3.5)),
    *(Case(name, WIDE, average) for name in NETWORKS[1:3] for average in (3, 4)),
)


@cache
def network(name: str) -> Network:
    return load_network(name)


@lru_cache(1)
def workbench(name: str, menu: str) -> Workbench:
    """A network with statistics of the shipped images, by default as few as 64."""
    options = WorkbenchOptions(name, bits=menu)
    return Workbench(options, network=network(name))


def choose(case: Case) -> None:
    """A row for every method of ours: the weight bits of every group.

    Groups that a proxy says nothing of have the most bits; where that leaves none for the others,
    the proxy is refused, and its bits are the uniform ones.
    """
    known = {row["method"] for row in of_case(raw(CHOSEN), case)}
    if known.issuperset(OURS):
        return
    bench = workbench(case.network, case.menu)
    terms = Constraints(avg_bits=str(case.average), hold_unmeasured=True)
    problem = Problem.of(bench.network, bench.choices, terms)
    widths = np.array([choice.weight_bits for choice in problem.menu])
    *_, (_, same) = uniform(problem.menu, problem.allowed, (), problem.budgets)
    for name in (name for name in OURS if name not in known):
        choices, refused = same, ""
        if name != UNIFORM:
            domain = LIBRARY[name].domain
            fitted = bench.fitted(replace(domain, images=domain.images or 256))
            scores = evaluate(fitted, [LIBRARY[name]]).scored[0].table
            try:
                choices = objective(problem, scores).solve().choices
            except EmqError as refusal:
                refused = refusal.diagnostics[0].code
        config = widths[list(choices)].tolist()
        append(CHOSEN, {**case.row, "method": name, "refused": refused, "config": config})


def measure(draw: int, name: str, menu: str) -> None:
    """A row for every configuration that is chosen; neighbours share their first layers."""
    data = f"{fashion_mnist.__file__}:draw{draw}"
    builder = RowBuilder(Spec(name, data=data, test=SHIPPED, menu=menu))
    widths = [choice.weight_bits for choice in builder.menu]
    place = {"network": name, "draw": draw}
    known = {tuple(row["config"]) for row in raw(OUT) if place.items() <= row.items()}
    chosen = [row for row in raw(CHOSEN) if (row["network"], row["menu"]) == (name, menu)]
    configs = list({tuple(row["config"]) for row in chosen} - known)
    choices = [tuple(map(widths.index, config)) for config in configs]
    keys = [builder.composition.keys(builder.by_layer(row)) for row in choices]
    order = by_prefix(keys)
    for index, shared in zip(order, cuts([keys[index] for index in order]), strict=True):
        found = builder.measure(choices[index], shared)
        assert found.right is not None
        row = {**place, "config": configs[index], "accuracy": found.accuracy, "loss": found.loss}
        append(OUT, row | {"right": packed(found.right)})
        print(*row.values(), f"{found.saved or 0:.0%} saved", flush=True)


def of_case(rows: Iterable[Row], case: Case) -> list[Row]:
    return [row for row in rows if case.row.items() <= row.items()]


def joined(case: Case) -> dict[str, list[Row]]:
    """A case's rows of each method, of the draws for which every method has one."""
    chosen = of_case(raw(CHOSEN), case)
    measured = [row for row in raw(OUT) if row["network"] == case.network]
    found = {
        row["method"]: {one["draw"]: one for one in measured if one["config"] == row["config"]}
        for row in chosen
    }
    if not found.keys() >= set(METHODS):
        return {}
    whole = sorted(set.intersection(*(set(found[name]) for name in METHODS)))
    return {name: [found[name][draw] for draw in whole] for name in METHODS} if whole else {}


def summarise() -> None:
    """Raw rows become the CSV files."""
    cases = [(case, found) for case in CASES if (found := joined(case))]
    save("bits", (summed(case, name, own) for case, found in cases for name, own in found.items()))
    narrow = [found for case, found in cases if case.menu == NARROW]
    save("bits_methods", compared(narrow))


def summed(case: Case, method: str, rows: Sequence[Row]) -> Row:
    """Means over draws of what a method's bits come to; the deviation is over draws, in points."""
    accuracy = [row["accuracy"] for row in rows]
    return {
        **case.row,
        "method": method,
        "draws": len(rows),
        "bits": fmean(spent(case, row["config"]) for row in rows),
        "accuracy": fmean(accuracy),
        "deviation": 100 * stdev(accuracy) if len(rows) > 1 else 0.0,
        "loss": fmean(row["loss"] for row in rows),
    }


def spent(case: Case, config: Sequence[int]) -> float:
    """Bits of a weight on average."""
    collection = network(case.network).collection
    counts = [sum(collection.layers[i].numel for i in group.layers) for group in collection.groups]
    return float(np.average(config, weights=counts))


def compared(cases: Sequence[dict[str, list[Row]]]) -> Iterator[Row]:
    """Each method over all cases, beside the best additive proxy of each case and of all."""
    draws = min(len(rows) for found in cases for rows in found.values())
    marks = {
        name: np.mean([[marks_of(row) for row in found[name][:draws]] for found in cases], axis=0)
        for name in METHODS
    }
    means = {
        name: np.array([100 * fmean(row["accuracy"] for row in found[name]) for found in cases])
        for name in METHODS
    }
    best = np.max([means[name] for name in ADDITIVE], axis=0)
    reference = max(ADDITIVE, key=lambda name: means[name].mean())
    rng = np.random.default_rng(SEED)
    for name in METHODS:
        low, high = interval(marks[name] - marks[reference], rng)
        yield {
            "method": name,
            "cases": len(cases),
            "draws": draws,
            "accuracy": means[name].mean() / 100,
            "loss": fmean(row["loss"] for found in cases for row in found[name]),
            "behind": (best - means[name]).mean(),
            "most": (best - means[name]).max(),
            "often": int((best - means[name] > BEHIND).sum()),
            "reference": reference,
            "difference": means[name].mean() - means[reference].mean(),
            "low": low,
            "high": high,
        }


def print_cases(rows: Sequence[Row]) -> None:
    """Networks and averages: the rivals, the best additive proxy, and those across layers."""
    header = ("network", "bits", "uniform", *RIVALS, "best additive", "its accuracy", *ACROSS)
    lines = []
    for case in CASES:
        found = {row["method"]: row for row in of_case(rows, case)}
        if not found:
            continue
        best = max((found[name] for name in ADDITIVE), key=lambda row: row["accuracy"])
        others = (found[name] for name in (UNIFORM, *RIVALS))
        across = (
            f"{shown(found[name])} ({100 * (found[name]['accuracy'] - best['accuracy']):+.2f})"
            for name in ACROSS
        )
        bits = f"{case.average}" + ("" if case.menu == NARROW else f" of {case.menu[0]} to 8")
        named = (best["method"], shown(best))
        lines.append((case.network, bits, *map(shown, others), *named, *across))
    print(table(header, lines))


def shown(row: Row) -> str:
    spread = f" ± {row['deviation']:.2f}" if row["draws"] > 1 else ""
    return f"{100 * row['accuracy']:.2f}{spread}"


def print_methods(rows: Sequence[Row]) -> None:
    """Every method over all cases of the narrow menu, the best first."""
    header = (
        "bits by",
        "accuracy",
        "loss",
        "behind the best additive of the case",
        "at most",
        f"more than {BEHIND}",
        f"less {rows[0]['reference']}",
        "95 % interval",
    )
    lines = (
        (
            row["method"],
            f"{row['accuracy']:.2%}",
            f"{row['loss']:.3f}",
            f"{row['behind']:.2f}",
            f"{row['most']:.2f}",
            f"{row['often']} of {row['cases']}",
            f"{row['difference']:+.2f}",
            f"{row['low']:+.2f} to {row['high']:+.2f}",
        )
        for row in sorted(rows, key=lambda row: -row["accuracy"])
    )
    print(table(header, lines, ", ".join(header[1:])))


def main() -> None:
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table", action="store_true", help="print the tables, measure nothing")
    parser.add_argument("--summary", action="store_true", help="sum up the rows that are there")
    args = parser.parse_args()
    if not (args.table or args.summary):
        for draw in DRAWS:
            for (name, menu), cases in groupby(CASES, lambda case: (case.network, case.menu)):
                for case in cases:
                    choose(case)
                measure(draw, name, menu)
    if not args.table:
        summarise()
    print_cases(load("bits"))
    print_methods(load("bits_methods"))


if __name__ == "__main__":
    main()
