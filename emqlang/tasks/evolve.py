"""A search on benchmark tables: begun, resumed and advanced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from hashlib import blake2b
from itertools import count
from pathlib import Path
from typing import Any

import torch

from emqlang import __version__
from emqlang.compiler.statistics import Statistics
from emqlang.evolve.arena import Arena, Benchmark
from emqlang.evolve.history import Programs, front, top
from emqlang.evolve.ledger import Ledger, Status
from emqlang.evolve.search import Budget, Search
from emqlang.evolve.settings import EvaluationOptions, SearchSettings, paper_settings
from emqlang.grammar.diagnostics import EXIT_INTERRUPTED, EXIT_OK, Diagnostic, error
from emqlang.grammar.inputs import INPUTS, Cost
from emqlang.grammar.ops import VERSION
from emqlang.quant.progress import Progress
from emqlang.quant.tables.table import Table, load
from emqlang.scores.correlation import PAPER_ROWS
from emqlang.tasks.heldout import HeldOut, few_rows, held_out
from emqlang.tasks.truth import truth_of
from emqlang.tasks.workbench import Workbench, WorkbenchOptions
from emqlang.tasks.workers import Workers

RUNS = Path("runs")  # where runs go that are given no folder
EVALS, EMQ_STEPS = 20_000, 1_000  # where a run stops if nothing is said


@dataclass(frozen=True)
class TableArena:
    """An arena of benchmark tables, which other processes open from files and cached statistics.

    inputs  statistics that programs may read, and their canonical forms
    """

    options: EvaluationOptions
    inputs: tuple[str, ...]

    @classmethod
    def of(cls, settings: SearchSettings, options: EvaluationOptions) -> TableArena:
        """The arena of a search."""
        names = settings.statistics
        inputs = [name for name, row in INPUTS.items() if name in names or row.cost is Cost.FREE]
        return cls(options, tuple(inputs))

    def open(self, progress: Progress | None = None) -> Arena:
        """This process's own, made once: networks are loaded and missing statistics collected.

        Raises E301, E314, E315, and what collecting statistics raises.
        """
        if self not in _ARENAS:
            if len(_ARENAS) == KEPT:
                del _ARENAS[next(iter(_ARENAS))]  # the oldest
            _ARENAS[self] = self._arena(progress)
        return _ARENAS[self]

    def _arena(self, progress: Progress | None) -> Arena:
        tables = [load(name) for name in self.options.tables]
        benchmarks = _sharing([self._benchmark(table, progress) for table in tables])
        parts = [
            part
            for benchmark, table in zip(benchmarks, tables, strict=True)
            for part in (benchmark.statistics.fingerprint, _digest(table))
        ]
        text = " ".join((*parts, self.options.split, self.options.by))
        return Arena(benchmarks, blake2b(text.encode(), digest_size=16).hexdigest())

    def _benchmark(self, table: Table, progress: Progress | None) -> Benchmark:
        options = self.options
        settings = WorkbenchOptions(
            stat_images=options.stat_images,
            label_draws=options.label_draws,
            stat_rounding=options.stat_rounding,
            stat_iterations=options.stat_iterations,
            calib_images=options.calib_images,
            device=options.device,
            cache=options.cache,
        )
        bench = Workbench.of_table(table, settings, progress)
        return benchmark_of(table.split(options.split), bench, self.inputs, options.by)


def benchmark_of(rows: Table, bench: Workbench, inputs: Sequence[str], by: str) -> Benchmark:
    """Rows of a table as a search reads them, with these statistics of the table's network.

    Raises E406 if it has no such ground truth, and what collecting statistics raises.
    """
    collection = bench.network.collection
    return Benchmark(
        name=rows.name,
        statistics=bench.statistics(inputs),
        groups=collection.groups,
        choices=rows.choices,
        truth=truth_of(rows, by).values,
        strata=rows.strata,
        shapes=tuple(layer.shape for layer in collection.layers),
        tied=bench.options.tied,
    )


def _sharing(benchmarks: Sequence[Benchmark]) -> list[Benchmark]:
    """Tables of one network and menu have one copy of its statistics."""
    known: dict[tuple[Any, ...], Statistics] = {}
    shared = []
    for one in benchmarks:
        key = one.statistics.fingerprint, tuple(one.statistics.choices)
        shared.append(replace(one, statistics=known.setdefault(key, one.statistics)))
    return shared


KEPT = 2  # arenas per process
_ARENAS: dict[TableArena, Arena] = {}


def _digest(table: Table) -> str:
    data = table.choices.tobytes() + table.accuracy.tobytes() + table.search.tobytes()
    data += b"".join(b"%d " % budget for budget in table.budgets)
    return blake2b(data, digest_size=16).hexdigest()


# Names that `search_settings` takes.
SETTINGS = {field.name for field in fields(SearchSettings)} | {"no_choice", "fitness"}


def search_settings(options: Mapping[str, Any]) -> SearchSettings:
    """Settings by the names of the options of `emqlang evolve`. Raises E102, E403, E408."""
    names = [field.name for field in fields(SearchSettings)]
    values = {name: options[name] for name in names if options.get(name) is not None}
    if options.get("no_choice"):
        values["choice_dependent"] = False
    if options.get("fitness") == "paper50":
        values["rows"] = PAPER_ROWS
    emq = values.get("algorithm") == "emq"
    return paper_settings(**values) if emq else SearchSettings(**values)


def free_folder() -> Path:
    """The first of runs/evolve-1, runs/evolve-2, ... that is not taken."""
    return next(path for n in count(1) if not (path := RUNS / f"evolve-{n}").exists())


def begin(
    settings: SearchSettings,
    options: EvaluationOptions,
    folder: Path,
    command: str,
    workers: Workers,
    progress: Progress | None = None,
) -> Search:
    """A new run. Raises E301 where there is one, and what its tables raise."""
    source = TableArena.of(settings, options)
    facts = {
        "settings": settings.as_dict(),
        "judged": options.as_dict(),
        "arena": source.open(progress).fingerprint,
        "op_table": VERSION,
        "versions": {"emqlang": __version__, "torch": torch.__version__},
        "command": command,
    }
    return Search(Ledger.create(folder, facts), source, workers.run)


def resume(folder: Path, workers: Workers, progress: Progress | None = None) -> Search:
    """A run to continue. Raises E301, what its tables raise, and E316, naming what has changed.

    An older version's is brought to this one's format.
    """
    ledger = Ledger(folder)
    facts, source = ledger.facts, TableArena.of(ledger.settings, ledger.options)
    arena = source.open(progress)
    versions = {
        "the op table": (facts["op_table"], VERSION),
        "emqlang": (facts["versions"]["emqlang"], __version__),
        "torch": (facts["versions"]["torch"], torch.__version__),
    }
    changed = [
        f"{name} was {was}, and is {now}" for name, (was, now) in versions.items() if was != now
    ]
    if facts["arena"] != arena.fingerprint:
        changed.append("the tables, their networks, or the images of the statistics have changed")
    if changed:
        message = f"the run cannot be resumed: {'; '.join(changed)}"
        raise error("E316", message, "begin a new one", path=str(ledger.folder))
    return Search(ledger.upgraded(), source, workers.run)


@dataclass(frozen=True)
class EvolveResult:
    """A run after an advance; `status` is None if it has not had a step yet.

    heldout  program of the front -> what it is worth on rows that the search has not seen
    few      warnings of tables with few rows to search on
    """

    ledger: Ledger
    status: Status | None
    front: Programs
    stopped: bool
    heldout: Mapping[int, HeldOut]
    few: tuple[Diagnostic, ...]

    def __repr__(self) -> str:
        done = 0 if self.status is None else self.status.evaluated
        return f"EvolveResult({self.ledger.folder}: {done:,} evaluated)\n{self.front!r}"

    @property
    def exit_status(self) -> int:
        return EXIT_INTERRUPTED if self.stopped else EXIT_OK

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        return (*self.ledger.diagnostics, *self.few)


def advance(search: Search, budget: Budget, progress: Progress) -> EvolveResult:
    """Steps of a run until its budget is spent, or a default one where it has no limit."""
    ledger = search.ledger
    if budget == Budget():
        emq = ledger.settings.algorithm == "emq"
        budget = Budget(steps=EMQ_STEPS) if emq else Budget(evals=EVALS)
    before, texts = ledger.status(), dict[float, str]()

    def report(status: Status, seconds: float) -> None:
        evaluated = status.evaluated - (before.evaluated if before else 0)
        done, goal = status.evaluated, budget.evals
        if goal is None:
            done, goal = status.step + 1, budget.steps
        if goal is None:
            done, goal = int(seconds), int(budget.seconds or seconds)
        if status.best not in texts:  # the query reads the whole run
            texts[status.best] = "".join(one.text for one in top(ledger, 1).entries)
        line = status.line(evaluated / max(seconds, 1e-9), texts[status.best])
        progress(line, min(done, goal), goal)

    status = search.advance(budget, report)
    best, arena = front(ledger), search.source.open()
    unseen = held_out(arena, ledger.settings, ledger.options, best.entries)
    return EvolveResult(ledger, status, best, search.stopped, unseen, tuple(few_rows(arena)))
