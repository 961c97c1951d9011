"""Scores of the library's proxies on a network, whose solutions are rows of an edge table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emqlang.grammar.diagnostics import EmqError
from emqlang.grammar.expr import inputs
from emqlang.grammar.library import LIBRARY
from emqlang.quant.bits.exact import Floats
from emqlang.quant.progress import Progress
from emqlang.quant.tables.row_builder import RowBuilder
from emqlang.scores.pipeline import tabulate
from emqlang.tasks.workbench import ACTIVATION, Workbench, WorkbenchOptions

NO_TABLE = "E410"  # of a program that does not separate: no solver finds its exact solution


def library_scores(builder: RowBuilder, progress: Progress | None = None) -> Sequence[Floats]:
    """S (groups, choices) of every proxy whose scores are finite.

    On a menu of pairs, of those that read an activation input.
    """
    spec, network = builder.spec, builder.network
    options = WorkbenchOptions(
        spec.model, spec.weights, spec.seed, data=spec.data, test=spec.test, input=spec.input
    )
    bench = Workbench(options, progress, network=network, choices=builder.menu)
    joint = builder.menu[0].act_bits is not None
    programs = [LIBRARY[name] for name in LIBRARY]
    programs = [p for p in programs if not joint or p.elaborated.axes & ACTIVATION]
    statistics = bench.statistics(inputs(*(program.canonical for program in programs)))
    found = []
    for program in programs:
        try:
            (scored,) = tabulate([program], statistics, network.collection.groups)
        except EmqError as refusal:
            if [one.code for one in refusal.diagnostics] != [NO_TABLE]:
                raise
            continue
        if np.isfinite(scored.scores).all():
            found.append(scored.scores)
    return found
