"""Building a table, and building some of its rows again with something changed; each goes on where it was stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from emqlang.grammar.diagnostics import error
from emqlang.quant.bits import costs
from emqlang.quant.data.datasets import SHIPPED
from emqlang.quant.models import MODELS
from emqlang.quant.tables import sampling
from emqlang.quant.tables.facts import facts_of
from emqlang.quant.tables.ledger import TABLE, Ledger, Row
from emqlang.quant.tables.row_builder import RowBuilder, learn, measure
from emqlang.quant.tables.spec import Spec

CHECKED = 24  # rows that a composed table builds a second time, each from its beginning, before it is believed
SEQUENTIAL = "sequential"  # the rerun that they make
LICENCES = {SHIPPED: "images: Fashion-MNIST, Zalando, MIT; everything else: Apache-2.0"}

# Runs a task on each tuple of arguments and gives the results in the order in which they are done.
Run = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]]], Iterator[Any]]
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Built:
    """What a call did: rows measured in it and before, in which time, and the mean share of MACs that did not have to run."""

    rows: int
    before: int
    seconds: float
    saved: float


class Build:
    """One table on its way. `run` says where tasks run; `tell` hears where the work stands."""

    def __init__(self, path: Path, spec: Spec, run: Run, tell: Tell, command: str = "") -> None:
        """Makes the file, or opens one that the same spec has begun. Raises E301 to E309, E315, E401, E402, E407."""
        self.path, self.spec, self.run, self.tell = path, spec, run, tell
        self.builder = RowBuilder(spec)
        self.ledger = self._opened(command)

    def _opened(self, command: str) -> Ledger:
        builder = self.builder
        if not self.path.exists():
            return Ledger.create(self.path, _facts(builder, command), _rows(builder))
        ledger = Ledger(self.path)
        _check_same(ledger, builder, self.path)
        return ledger

    def finish(self) -> Built:
        """Measures every row that is missing."""
        began, before = perf_counter(), len(self.ledger.measured())
        if self.spec.composed:
            self._learn()
            checked = [row for row in self.ledger.rows() if row.id < CHECKED]
            self._measure(checked, self.spec, TABLE, "rows to check")
            self.ledger.add_rerun(SEQUENTIAL, {"composed": False})
            self._measure(
                checked,
                replace(self.spec, composed=False),
                SEQUENTIAL,
                "the same, learned in sequence",
            )
        self._measure(self.ledger.rows(), self.spec, TABLE, "rows")
        if self.spec.composed:
            self.ledger.drop_roundings()
        found = self.ledger.measured()
        saved = float(np.mean([row.saved or 0.0 for row in found.values()]))
        return Built(len(found) - before, before, perf_counter() - began, saved)

    def _learn(self) -> None:
        known = self.ledger.roundings()
        every = list(self.builder.blockwise.combinations(self.builder.menu, self.builder.allowed))
        missing = [(self.spec, *pair) for pair in every if pair not in known]
        if len(self.ledger.measured()) == len(self.ledger.rows()):
            return  # a finished table has let go of them
        for number, (unit, combination, codes) in enumerate(self.run(learn, missing), 1):
            self.ledger.add_rounding(unit, combination, codes)
            self.tell("units", number, len(missing))

    def _measure(self, rows: Sequence[Row], spec: Spec, name: str, what: str) -> None:
        known = self.ledger.measured(name)
        missing = [row for row in rows if row.id not in known]
        tasks = list(
            _tasks(self.builder if spec == self.spec else RowBuilder(spec), missing, self.path)
        )
        for number, (row, found) in enumerate(self.run(measure, tasks), 1):
            self.ledger.record(row, found, name)
            self.tell(what, number, len(tasks))


def rerun(path: Path, rows: int, name: str, run: Run, tell: Tell, **changes: Any) -> int:
    """Measures the first rows of a table once more with another seed, other calibration images, or whatever `Spec` has.

    They are kept in the table under the name. Returns how many this call measured. Raises E301, E314, E315, E403.
    """
    ledger = Ledger(path)
    spec = ledger.spec
    again = replace(spec, **changes, test=spec.test or spec.data or _own_data(spec.model))
    if all(getattr(spec, name) == value for name, value in changes.items()):
        raise error("E403", "a rerun changes something", "give another --seed or --data")
    if kept := {"model", "weights", "test", "menu", "fix", "rows"} & changes.keys():
        raise error("E403", f"a rerun keeps {', '.join(sorted(kept))}: it is of the same rows")
    if again.composed:
        raise error(
            "E403", "a rerun of a composed table is learned in sequence", "leave --composed out"
        )
    ledger.add_rerun(name, changes)
    known = ledger.measured(name)
    missing = [row for row in ledger.rows()[:rows] if row.id not in known]
    tasks = list(_tasks(RowBuilder(again), missing, path))
    for number, (row, found) in enumerate(run(measure, tasks), 1):
        ledger.record(row, found, name)
        tell(name, number, len(tasks))
    return len(tasks)


def agreement(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Spearman's correlation of two measurements of the same rows, and the mean of the second minus the first."""
    return float(spearmanr(first, second).statistic), float(np.mean(np.subtract(second, first)))


def _tasks(builder: RowBuilder, rows: Sequence[Row], path: Path) -> Iterator[tuple[Any, ...]]:
    """Rows in the order in which neighbours share most, with what they share; in any order where nothing is shared."""
    if not builder.composes:
        yield from ((builder.spec, path, row.id, row.choices, ()) for row in rows)
        return
    keys = [builder.composition.keys(builder.by_layer(row.choices)) for row in rows]
    order = sampling.by_prefix(keys)
    lengths = sampling.cuts([keys[position] for position in order])
    for position, shared in zip(order, lengths, strict=True):
        yield builder.spec, path, rows[position].id, rows[position].choices, tuple(shared)


def _rows(builder: RowBuilder) -> Iterator[Row]:
    spec, network = builder.spec, builder.network
    drawn = sampling.draw(builder.allowed, spec.rows, np.random.default_rng(spec.seed))
    size, bops = (
        costs.size(network, builder.menu),
        costs.bops(network, builder.menu, act_bits=spec.act_bits),
    )
    for number, (choices, search) in enumerate(
        zip(drawn.tolist(), sampling.in_search(spec.rows), strict=True)
    ):
        yield Row(
            number, tuple(choices), search, size.cost(tuple(choices)), bops.cost(tuple(choices))
        )


def _facts(builder: RowBuilder, command: str) -> dict[str, Any]:
    splits, plain = builder.splits, builder.plain
    return facts_of(builder.network, builder.spec, builder.menu, command) | {
        "calibration": {
            "source": splits.calibration.source,
            "fingerprint": splits.calibration.fingerprint,
        },
        "test": {"source": splits.test.source, "fingerprint": splits.test.fingerprint},
        "images": len(builder.labels),
        "float": {"accuracy": plain.accuracy, "loss": plain.loss},
        "licence": LICENCES.get(splits.test.name, ""),
    }


def _check_same(ledger: Ledger, builder: RowBuilder, path: Path) -> None:
    """Raises E315, naming everything that is not as it was when the table was begun."""
    facts, splits = ledger.facts, builder.splits
    changed = ledger.spec.differences(builder.spec)
    if facts["model"]["weights_sha256"] != builder.network.weights_sha256:
        changed.append("the network's weights are others")
    for name, batches in (("calibration", splits.calibration), ("test", splits.test)):
        if facts[name]["fingerprint"] != batches.fingerprint and not changed:
            changed.append(f"the {name} images are others")
    if facts["versions"]["torch"] != torch.__version__:
        changed.append(f"torch is {torch.__version__}, not {facts['versions']['torch']}")
    if changed:
        raise error(
            "E315",
            f"the table was begun with other settings: {'; '.join(changed)}",
            "give another --out",
            path=str(path),
        )


def _own_data(model: str) -> str | None:
    """The images that a built-in network has of its own."""
    return (MODELS[model].data or None) if model in MODELS else None
