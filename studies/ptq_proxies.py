"""Every library proxy's exact assignment at 3 bits on average, beside uniform 3 bits and 100 random configurations.

    python studies/ptq_proxies.py            # into studies/results/proxies.jsonl; goes on where it was stopped

`resnet18-fmnist`, menu {2, 3, 4}, A8, nearest rounding, calibrated on the shipped 1,024 images, all 10,000 test images. Two
sets: `free`, all groups in the menu; and `ends`, the first and the last layer at 4 bits and the budget over the others.
Random configurations have an average within 0.02 of 3.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ptq_task import RESULTS, record, right, rows

from emqlang.grammar.library import LIBRARY
from emqlang.quant.data.datasets import load_data
from emqlang.quant.data.images import FASHION_MNIST
from emqlang.quant.networks.network import Network
from emqlang.quant.ptq.quantize import quantize
from emqlang.quant.ptq.quantized import identity
from emqlang.quant.ptq.recipe import LayerRecipe, Recipe, input_scheme, weight_scheme
from emqlang.tasks.problem import Problem, Wish
from emqlang.tasks.workbench import Settings, Workbench

BITS, WIDTH, RANDOM, SEED = 3.0, 0.02, 100, 0
SETS = {"free": "", "ends": "conv1=4,fc=4"}


def configurations(bench: Workbench, fix: str) -> Iterator[tuple[str, list[int]]]:
    """Names, and weight bits of every group: uniform, by each proxy, and random ones."""
    problem = Problem.of(bench.network, bench.choices, Wish({"avg-bits": str(BITS)}, fix=fix))
    widths = np.array([choice.weight_bits for choice in problem.menu])
    fixed = {group: choice.weight_bits for group, choice in problem.fixed.items()}
    yield "uniform", [fixed.get(group, 3) for group in range(len(problem.allowed))]
    for name, program in LIBRARY.items():
        table = bench.evaluate([program]).scored[0].table
        yield name, widths[list(problem.solve(problem.scores(table)).choices)].tolist()
    (budget,) = problem.budgets
    rng, found = np.random.default_rng(SEED), 0
    while found < RANDOM:
        drawn = np.array([rng.choice(np.flatnonzero(row)) for row in problem.allowed])
        if abs(budget.cost(tuple(drawn)) / budget.per - BITS) <= WIDTH:
            yield f"random {found}", widths[drawn].tolist()
            found += 1


def recipe(network: Network, bits: list[int]) -> Recipe:
    layers = network.collection.layers
    chosen = {
        layers[i].name: b
        for group, b in zip(network.collection.groups, bits, strict=True)
        for i in group.layers
    }
    return Recipe(
        identity(network),
        {x.name: LayerRecipe(weight_scheme(chosen[x.name]), input_scheme(8)) for x in layers},
    )


def main() -> None:
    parser = ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=RESULTS / "proxies.jsonl")
    out = parser.parse_args().out
    bench = Workbench(Settings())
    images = load_data("fashion-mnist", FASHION_MNIST, 10, count=1024)
    known = {(row["draw"], row["method"]): row for row in rows(out)}
    seen = {(row["draw"], json.dumps(row["config"])): row for row in known.values()}
    for name, fix in SETS.items():
        for method, bits in configurations(bench, fix):
            if (name, method) in known:
                continue
            row = {
                "side": "emqlang",
                "method": method,
                "bits": BITS,
                "iterations": 0,
                "draw": name,
                "config": bits,
            }
            same = seen.get((name, json.dumps(bits)))
            if same is not None:  # two proxies may choose the same bits
                out.open("a").write(json.dumps({**same, **row}) + "\n")
                continue
            record(
                out, row, right(quantize(bench.network, recipe(bench.network, bits), images).module)
            )
            seen = {(r["draw"], json.dumps(r["config"])): r for r in rows(out)}


if __name__ == "__main__":
    main()
