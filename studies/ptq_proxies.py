"""Every library proxy's exact assignment at 3 bits on average, beside uniform and random bits.

    python studies/ptq_proxies.py            # into studies/raw/proxies.jsonl

`resnet18-fmnist`, menu {2, 3, 4}, A8, nearest rounding, calibrated on the shipped 1,024 images, all
10,000 test images. Two sets: `free`, all groups in the menu; and `ends`, the first and the last
layer at 4 bits and the budget over the others. The 100 random configurations have an average within
0.02 of 3. A run that was interrupted measures the rows that are missing.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from ptq_task import CALIBRATION, correct, record
from rows import RAW, append, raw

from emqlang.grammar.library import LIBRARY
from emqlang.quant.data.datasets import load_data
from emqlang.quant.data.images import FASHION_MNIST
from emqlang.quant.networks.network import Network
from emqlang.quant.ptq.quantize import quantize
from emqlang.quant.ptq.quantized import identity
from emqlang.quant.ptq.recipe import LayerRecipe, Recipe, input_scheme, weight_scheme
from emqlang.tasks.eval import evaluate
from emqlang.tasks.objective import objective
from emqlang.tasks.problem import Constraints, Problem
from emqlang.tasks.workbench import Workbench, WorkbenchOptions

BITS, WIDTH, RANDOM, SEED = 3.0, 0.02, 100, 0
SETS = {"free": "", "ends": "conv1=4,fc=4"}


def configurations(bench: Workbench, fix: str) -> Iterator[tuple[str, list[int]]]:
    """Names, and the weight bits of every group: uniform, by each proxy, and random ones."""
    problem = Problem.of(bench.network, bench.choices, Constraints(avg_bits=str(BITS), fix=fix))
    fixed = {group: choice.weight_bits for group, choice in problem.fixed.items()}
    yield "uniform", [fixed.get(group, 3) for group in range(len(problem.allowed))]
    yield from assigned(bench, problem)
    widths = np.array([choice.weight_bits for choice in problem.menu])
    (budget,) = problem.budgets
    rng, count = np.random.default_rng(SEED), 0
    while count < RANDOM:
        drawn = np.array([rng.choice(np.flatnonzero(row)) for row in problem.allowed])
        if abs(budget.cost(tuple(drawn)) / budget.per - BITS) <= WIDTH:
            yield f"random {count}", widths[drawn].tolist()
            count += 1


def assigned(bench: Workbench, problem: Problem) -> Iterator[tuple[str, list[int]]]:
    """Each proxy of the library, and the weight bits of every group that it chooses."""
    widths = np.array([choice.weight_bits for choice in problem.menu])
    for name, program in LIBRARY.items():
        if not program.separable:
            continue
        table = evaluate(bench, [program]).scored[0].table
        yield name, widths[list(objective(problem, table).solve().choices)].tolist()


def recipe(network: Network, bits: Sequence[int]) -> Recipe:
    """These weight bits of every group, A8."""
    layers = network.collection.layers
    by_layer = {
        layers[index].name: width
        for group, width in zip(network.collection.groups, bits, strict=True)
        for index in group.layers
    }
    schemes = {
        layer.name: LayerRecipe(weight_scheme(by_layer[layer.name]), input_scheme(8))
        for layer in layers
    }
    return Recipe(identity(network), schemes)


def main() -> None:
    parser = ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=RAW / "proxies.jsonl")
    out = parser.parse_args().out
    bench = Workbench(WorkbenchOptions())
    images = load_data("fashion-mnist", FASHION_MNIST, 10, count=CALIBRATION)
    for name, fix in SETS.items():
        for method, bits in configurations(bench, fix):
            known = [row for row in raw(out) if row["draw"] == name]
            if any(row["method"] == method for row in known):
                continue
            row = {
                "side": "emqlang",
                "method": method,
                "bits": BITS,
                "iterations": 0,
                "draw": name,
                "config": bits,
            }
            same = next((one for one in known if one["config"] == bits), None)
            if same is not None:  # two proxies may choose the same bits
                append(out, same | row)
                continue
            module = quantize(bench.network, recipe(bench.network, bits), images).module
            record(out, row, correct(module))


if __name__ == "__main__":
    main()
