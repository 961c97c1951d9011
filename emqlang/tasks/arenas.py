"""Benchmark tables and the statistics of their networks, as what a search is judged on."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b

from emqlang.evolve.arena import Arena, Court
from emqlang.quant.statistics.subject import Progress
from emqlang.quant.tables.table import Table, load
from emqlang.tasks.truth import truth_of
from emqlang.tasks.workbench import Workbench, WorkbenchOptions


@dataclass(frozen=True)
class ArenaDoor:
    """Leads to an arena by names: in another process it is opened from the tables' files and the cache of statistics.

    tables  names of shipped tables, or paths
    inputs  statistics that programs may read
    split   which rows judge, as `Terms.split`; `by` what is true of them
    """

    tables: tuple[str, ...]
    inputs: tuple[str, ...]
    split: str = "search"
    by: str = "top1"
    settings: WorkbenchOptions = field(default_factory=WorkbenchOptions)

    def open(self) -> Arena:
        """This process's own. Raises E301, E314, E315, and what collecting statistics raises."""
        return _opened(self)

    def prepare(self, progress: Progress) -> Arena:
        """Collects what is not in the cache yet, saying where the work stands."""
        for name in self.tables:
            Workbench.of_table(load(name), self.settings, progress).statistics(self.inputs)
        return self.open()


@lru_cache(maxsize=2)
def _opened(door: ArenaDoor) -> Arena:
    tables = [load(name) for name in door.tables]
    courts = [_court(table, door) for table in tables]
    told = [
        part
        for court, table in zip(courts, tables, strict=True)
        for part in (court.statistics.fingerprint, _digest(table))
    ]
    return Arena(
        courts, blake2b(" ".join((*told, door.split, door.by)).encode(), digest_size=16).hexdigest()
    )


def _court(table: Table, door: ArenaDoor) -> Court:
    bench = Workbench.of_table(table, door.settings)
    rows = table.split(door.split)
    layers = bench.network.collection.layers
    return Court(
        name=table.name,
        statistics=bench.statistics(door.inputs),
        groups=bench.network.collection.groups,
        choices=rows.choices,
        truth=truth_of(rows, door.by).values,
        shapes=tuple(layer.shape for layer in layers),
        tied=door.settings.tied,
    )


def _digest(table: Table) -> str:
    return blake2b(
        table.choices.tobytes() + table.accuracy.tobytes() + table.search.tobytes(), digest_size=16
    ).hexdigest()
