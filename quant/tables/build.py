"""Building a table, and building some of its rows again with something changed.

Both go on where they were stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import numpy as np
import torch
from msgspec.structs import replace

from emqlang.grammar.diagnostics import error
from emqlang.quant.bits import costs
from emqlang.quant.bits.exact import Floats, Ints
from emqlang.quant.data.datasets import SHIPPED
from emqlang.quant.models import MODELS
from emqlang.quant.progress import Progress
from emqlang.quant.tables import sampling
from emqlang.quant.tables.edges import Drawn, draw_edges
from emqlang.quant.tables.facts import facts_of
from emqlang.quant.tables.ledger import TABLE, Ledger, Row
from emqlang.quant.tables.row_builder import RowBuilder, learn, measure
from emqlang.quant.tables.spec import Spec

# Rows of a composed table that are also learned in sequence, for comparison.
CHECKED: Final = {"adaround": 6, "brecq": 24}
SEQUENTIAL = "sequential"  # the rerun that they make
KEPT: Final = frozenset({"model", "weights", "test", "menu", "fix", "rows"})  # by every rerun
LICENCES: Final = {SHIPPED: "images: Fashion-MNIST, Zalando, MIT; everything else: Apache-2.0"}

# Runs a task on each tuple of arguments and gives the results in the order in which they are done.
Run = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]]], Iterator[Any]]


@dataclass(frozen=True)
class Built:
    """What building a table did.

    rows, before  how many rows were measured by this call, and how many before it
    saved         mean share of a row's MACs that did not have to run
    """

    table: Path
    rows: int
    before: int
    seconds: float
    saved: float


class Build:
    """A table that is being built; `run` says where tasks run."""

    def __init__(
        self,
        path: Path,
        spec: Spec,
        run: Run,
        progress: Progress,
        command: str = "",
        scores: Callable[[RowBuilder], Sequence[Floats]] = lambda _: (),
    ) -> None:
        """Makes the file, or opens one that the same spec has begun.

        scores  (groups, choices) of proxies, whose solutions are among the rows at edges
        Raises E301 to E309, E315, E401, E402, E407.
        """
        self.path, self.spec, self.run, self.progress = path, spec, run, progress
        self.builder = RowBuilder(spec)
        if path.exists():
            self.ledger = Ledger(path)
            _check_same(self.ledger, self.builder)
        else:
            drawn = _drawn(self.builder, scores)
            facts = _facts(self.builder, command)
            if drawn.budgets:
                facts["budgets"] = list(drawn.budgets)
            self.ledger = Ledger.create(path, facts, _rows(self.builder, drawn.choices))

    def finish(self) -> Built:
        """Measures every row that is missing."""
        began, before = perf_counter(), len(self.ledger.measured())
        rows, run, progress = self.ledger.rows(), self.run, self.progress
        if self.spec.composed:
            self._learn()
        _measure(self.ledger, TABLE, rows, self.builder, run, progress, "rows")
        if self.spec.composed:
            self._check()
            self.ledger.drop_roundings()
        measured = self.ledger.measured().values()
        saved = float(np.mean([row.saved or 0.0 for row in measured]))
        seconds = perf_counter() - began
        return Built(self.path, len(measured) - before, before, seconds, saved)

    def _check(self) -> None:
        """Some rows learned in sequence, beside which the composed ones are shown."""
        sequential = replace(self.spec, composed=False)
        rows, builder = self.ledger.rows()[: CHECKED[self.spec.rounding]], RowBuilder(sequential)
        self.ledger.add_rerun(SEQUENTIAL, {"composed": False})
        title = "the same, learned in sequence"
        _measure(self.ledger, SEQUENTIAL, rows, builder, self.run, self.progress, title)
        self.ledger.finish_rerun(SEQUENTIAL)

    def _learn(self) -> None:
        if len(self.ledger.measured()) == len(self.ledger.rows()):
            return  # a finished table has dropped them
        known = self.ledger.roundings()
        units = self.builder.blockwise.combinations(self.builder.menu, self.builder.allowed)
        missing = [(self.spec, *unit) for unit in units if unit not in known]
        for number, (unit, combination, codes) in enumerate(self.run(learn, missing), 1):
            self.ledger.add_rounding(unit, combination, codes)
            self.progress("units", number, len(missing))


def rerun(path: Path, count: int, name: str, run: Run, progress: Progress, **changes: Any) -> int:
    """Measures the first rows of a table again with another seed, or whatever else `Spec` has.

    The table keeps them under the name. Returns how many this call measured. Raises E301, E314,
    E315, E403.
    """
    ledger = Ledger(path)
    spec = ledger.spec
    changed = replace(spec, **changes, test=spec.test or spec.data or _shipped_data(spec.model))
    if all(getattr(spec, field) == value for field, value in changes.items()):
        raise error("E403", "a rerun changes something", "give another --seed or --data")
    if kept := KEPT & changes.keys():
        raise error("E403", f"a rerun keeps {', '.join(sorted(kept))}: it is of the same rows")
    if changed.composed:
        message = "a rerun of a composed table is learned in sequence"
        raise error("E403", message, "leave --composed out")
    ledger.add_rerun(name, changes)
    rows, builder = ledger.rows()[:count], RowBuilder(changed)
    measured = _measure(ledger, name, rows, builder, run, progress, name)
    ledger.finish_rerun(name)
    return measured


def _measure(
    ledger: Ledger,
    name: str,
    rows: Sequence[Row],
    builder: RowBuilder,
    run: Run,
    progress: Progress,
    title: str,
) -> int:
    """Records the rows that the table, or the rerun of the name, lacks; returns how many."""
    known = ledger.measured(name)
    missing = [row for row in rows if row.id not in known]
    tasks = list(_tasks(builder, missing, ledger.path))
    for number, (row, measurement) in enumerate(run(measure, tasks), 1):
        ledger.record(row, measurement, name)
        progress(title, number, len(tasks))
    return len(tasks)


def _tasks(builder: RowBuilder, rows: Sequence[Row], path: Path) -> Iterator[tuple[Any, ...]]:
    """Rows, neighbours sharing most, each with what later ones share with it."""
    if not builder.composes:
        yield from ((builder.spec, path, row.id, row.choices, ()) for row in rows)
        return
    keys = [builder.composition.keys(builder.by_layer(row.choices)) for row in rows]
    order = sampling.by_prefix(keys)
    lengths = sampling.cuts([keys[position] for position in order])
    for position, shared in zip(order, lengths, strict=True):
        yield builder.spec, path, rows[position].id, rows[position].choices, tuple(shared)


def _drawn(builder: RowBuilder, scores: Callable[[RowBuilder], Sequence[Floats]]) -> Drawn:
    spec, rng = builder.spec, np.random.default_rng(builder.spec.seed)
    if spec.sample == "uniform":
        return Drawn(sampling.draw(builder.allowed, spec.rows, rng))
    size = costs.size(builder.network, builder.menu)
    return draw_edges(scores(builder), builder.menu, size, builder.allowed, spec.rows, rng)


def _rows(builder: RowBuilder, drawn: Ints) -> Iterator[Row]:
    spec, network, menu = builder.spec, builder.network, builder.menu
    size, bops = costs.size(network, menu), costs.bops(network, menu, act_bits=spec.act_bits)
    searched = sampling.in_search(spec.rows)
    for number, (row, search) in enumerate(zip(drawn.tolist(), searched, strict=True)):
        choices = tuple(row)
        yield Row(number, choices, search, size.cost(choices), bops.cost(choices))


def _facts(builder: RowBuilder, command: str) -> dict[str, Any]:
    splits, plain = builder.splits, builder.plain
    images = {
        name: {"source": batches.source, "fingerprint": batches.fingerprint}
        for name, batches in (("calibration", splits.calibration), ("test", splits.test))
    }
    return {
        **facts_of(builder.network, builder.spec, builder.menu, command),
        **images,
        "images": len(builder.labels),
        "float": {"accuracy": plain.accuracy, "loss": plain.loss},
        "licence": LICENCES.get(splits.test.name, ""),
    }


def _check_same(ledger: Ledger, builder: RowBuilder) -> None:
    """Raises E315, naming everything that has changed since the table was begun."""
    facts, splits = ledger.facts, builder.splits
    changed = ledger.spec.differences(builder.spec)
    if facts["model"]["weights_sha256"] != builder.network.weights_sha256:
        changed.append("the network's weights have changed")
    for name, batches in (("calibration", splits.calibration), ("test", splits.test)):
        if facts[name]["fingerprint"] != batches.fingerprint and not changed:
            changed.append(f"the {name} images have changed")
    if facts["versions"]["torch"] != torch.__version__:
        changed.append(f"torch is {torch.__version__}, not {facts['versions']['torch']}")
    if changed:
        message = f"the table was begun with other settings: {'; '.join(changed)}"
        help = "give another --out, or begin anew with --force"
        raise error("E315", message, help, path=str(ledger.path))


def _shipped_data(model: str) -> str | None:
    """The images that come with a built-in network."""
    return (MODELS[model].data or None) if model in MODELS else None
