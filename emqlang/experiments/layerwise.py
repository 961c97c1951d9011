"""A proxy as a sum over the float network's layers, and recomputed on every quantized network.

The paper scores configurations as a whole and leaves the comparison to its appendix (footnote 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from time import perf_counter

import numpy as np
import torch

from emqlang.experiments.trial import Result, Trial
from emqlang.grammar.expr import Expr, inputs
from emqlang.grammar.library import LIBRARY
from emqlang.quant.bits.menu import weight_widths
from emqlang.quant.networks.network import Network
from emqlang.quant.tables.table import load
from emqlang.scores.correlation import Array, spearman
from emqlang.scores.pipeline import tabulate
from emqlang.tasks.workbench import Workbench, WorkbenchOptions

# None of them reads the choice itself.
VARIANTS = ("emq", "snip", "synflow", "plain", "fisher_channel", "qe", "ompq", "hawq_v2_bits")


def compare(trial: Trial) -> Result:
    """Spearman's correlation with the accuracy of `size` rows, both ways, and seconds per row."""
    table = load(trial.options.tables[0])
    bench = Workbench.of_table(table, WorkbenchOptions(stat_images=trial.options.stat_images))
    size, random = min(trial.size, len(table)), np.random.default_rng(trial.seed)
    rows = random.choice(len(table), size, replace=False)
    chosen, truth = table.choices[rows], table.accuracy[rows]
    form = LIBRARY[trial.variant].canonical
    began = perf_counter()
    separable = _table(bench, bench.network, form)[np.arange(chosen.shape[1]), chosen].sum(1)
    halfway = perf_counter()
    recomputed = np.array([_recomputed(bench, form, row) for row in chosen])
    ended = perf_counter()
    both = spearman(np.stack([separable, recomputed]), truth)
    figures = {
        "separable": float(both[0]),
        "recomputed": float(both[1]),
        "agreement": float(spearman(separable[None], recomputed)[0]),
        "separable, s": (halfway - began) / len(rows),
        "recomputed, s": (ended - halfway) / len(rows),
    }
    return Result(figures)


def _recomputed(bench: Workbench, form: Expr, choices: Sequence[int]) -> float:
    table = _table(bench, _quantized(bench, choices), form)
    return float(table[np.arange(len(choices)), choices].sum())


def _table(bench: Workbench, network: Network, form: Expr) -> Array:
    """S (groups, choices) of a program on a network, by statistics taken for it alone."""
    settings = replace(bench.options, cache=False)
    fresh = Workbench(settings, network=network, data=bench.data, choices=bench.choices)
    statistics, groups = fresh.statistics(inputs(form)), network.collection.groups
    (table,) = tabulate([form], statistics, groups, settings.tied)
    return table.scores


def _quantized(bench: Workbench, choices: Sequence[int]) -> Network:
    """The network with the weights that a configuration leaves it."""
    errors, widths = bench.statistics(["qerr"]), weight_widths(bench.choices)
    module, collection = deepcopy((bench.network.module, bench.network.collection))
    for group, choice in zip(collection.groups, choices, strict=True):
        for index in group.layers:
            weight = collection.layers[index].weight
            start, stop = errors.offsets["weight"][index : index + 2]
            width = widths.index(bench.choices[choice].weight_bits)
            row = errors.array("qerr")[width, start:stop]
            with torch.no_grad():
                weight.add_(row.reshape(weight.shape).to(weight.dtype))
    return replace(bench.network, module=module, collection=collection)
