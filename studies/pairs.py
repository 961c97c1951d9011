"""Menus of pairs: how the errors of weights and of activations are put together in a score.

    python studies/pairs.py            # measures what is missing, then writes the CSV file
    python studies/pairs.py --table    # table of docs/results/weight-and-activation-bits.md

Every weight width of {2, 3, 4} with every activation width of {4, 8}, at three budgets of bit
operations: those of W3A4, W4A4 and W3A8 everywhere. Statistics are of 256 of the shipped images
with 4 labels each; nearest rounding, the calibration of `emqlang quantize`, all 10,000 test images.
"""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import replace
from functools import cache
from statistics import fmean

from rows import RAW, Row, append, load, raw, save, table

from emqlang.grammar.program import parse
from emqlang.quant.tables.row_builder import RowBuilder
from emqlang.quant.tables.spec import Spec
from emqlang.tasks.eval import evaluate
from emqlang.tasks.objective import objective
from emqlang.tasks.problem import Constraints, Problem
from emqlang.tasks.workbench import Workbench, WorkbenchOptions

NETWORKS = ("resnet18-fmnist", "vgg-fmnist", "mobilenetv2-fmnist", "vit-fmnist")
MENU = "W2A4,W2A8,W3A4,W3A8,W4A4,W4A8"
BUDGETS = ("W3A4", "W4A4", "W3A8")
TOGETHER, APART = "summed together", "summed apart"
FORMULAS = {
    TOGETHER: (
        "-mean(sqrt(total(square(shift) + square(act_shift)) + square(total(shift + act_shift))))"
    ),
    APART: (
        "-mean(sqrt(total(square(shift)) + square(total(shift))))"
        "-mean(sqrt(total(square(act_shift)) + square(total(act_shift))))"
    ),
}
UNIFORM = "uniform"
OUT = RAW / "pairs.jsonl"


@cache
def workbench(name: str) -> Workbench:
    return Workbench(WorkbenchOptions(name, menu=MENU, stat_images=256, label_draws=4))


@cache
def builder(name: str) -> RowBuilder:
    return RowBuilder(Spec(name, menu=MENU))


def measure(name: str, budget: str) -> None:
    """A row for each formula, and for uniform bits."""
    known = [row for row in raw(OUT) if (row["network"], row["budget"]) == (name, budget)]
    missing = [by for by in (*FORMULAS, UNIFORM) if by not in {row["by"] for row in known}]
    if not missing:
        return
    bench = workbench(name)
    free = Problem.of(bench.network, bench.choices, Constraints())
    same = ([str(choice) for choice in free.menu].index(budget),) * len(free.allowed)
    limit = free.budget("bops")
    problem = replace(free, budgets=(replace(limit, limit=limit.cost(same)),))
    for by in missing:
        chosen = same
        if by != UNIFORM:
            scores = evaluate(bench, [parse(FORMULAS[by])]).scored[0].table
            chosen = objective(problem, scores).solve().choices
        again = next((row for row in known if row["choices"] == list(chosen)), None)
        found = builder(name).measure(chosen) if again is None else None
        row = {
            "network": name,
            "budget": budget,
            "by": by,
            "choices": list(chosen),
            "accuracy": again["accuracy"] if again else found.accuracy,
            "loss": again["loss"] if again else found.loss,
        }
        known.append(row)
        append(OUT, row)
        print(*row.values(), flush=True)


def summed() -> list[Row]:
    """Rows without their choices, and the mean of every method."""
    kept = ("network", "budget", "by", "accuracy", "loss")
    return [{key: row[key] for key in kept} for row in raw(OUT)]


def print_table(rows: list[Row]) -> None:
    """Accuracy and loss of every formula, case by case, and their means."""
    methods = (*FORMULAS, UNIFORM)
    cases = list(dict.fromkeys((row["network"], row["budget"]) for row in rows))
    found = {(row["network"], row["budget"], row["by"]): row for row in rows}
    lines = [(*case, *(shown([found[(*case, by)]]) for by in methods)) for case in cases]
    means = (shown([found[(*case, by)] for case in cases]) for by in methods)
    print(table(("network", "operations of", *methods), [*lines, ("mean", "", *means)]))


def shown(rows: list[Row]) -> str:
    accuracy, loss = (fmean(row[key] for row in rows) for key in ("accuracy", "loss"))
    return f"{accuracy:.2%}, {loss:.4f}"


def main() -> None:
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table", action="store_true", help="print the table, measure nothing")
    if not parser.parse_args().table:
        for name in NETWORKS:
            for budget in BUDGETS:
                measure(name, budget)
        save("pairs", summed())
    print_table(load("pairs"))


if __name__ == "__main__":
    main()
