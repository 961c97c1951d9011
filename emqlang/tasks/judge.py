"""A benchmark table that stays loaded, and judges programs one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from emqlang.grammar.diagnostics import EmqError
from emqlang.grammar.program import Program
from emqlang.quant.tables.shelf import shipped
from emqlang.quant.tables.table import Table, load
from emqlang.tasks.rank import Ranking, RankOptions, RankResult, contenders, rank_on
from emqlang.tasks.workbench import Workbench

DRAWS = 300  # resamples for the intervals of one line


@dataclass(frozen=True, eq=False)
class Judge:
    """A table, and its network with the statistics collected so far."""

    table: Table
    bench: Workbench

    @classmethod
    def of(cls, name: str, workbench: Workbench) -> Judge:
        """A table by name or path, on the workbench itself where that has its network and menu.

        Raises E301, E314, E315.
        """
        table = load(name)
        if table.menu == workbench.choices and _is_of(table, workbench):
            return cls(table, workbench)
        return cls(table, Workbench.of_table(table, workbench.options, workbench.progress))

    @classmethod
    def at_hand(cls, workbench: Workbench) -> Judge | None:
        """The shipped table of all layers of the workbench's own network, if there is one."""
        name = f"{workbench.options.model}-all"
        if name not in shipped():
            return None
        table = load(name)
        mine = table.menu == workbench.choices and _is_of(table, workbench)
        return cls(table, workbench) if mine else None

    def place(self, program: Program) -> Ranking:
        """What one program is worth; no standing where its scores are not finite."""
        return rank_on(self.table, self.bench, [program], RankOptions(draws=DRAWS))

    def ranking(self, programs: Sequence[Program], split: str = "all") -> RankResult:
        """Programs beside the trivial baselines; without any, the whole library."""
        options, all_of_them = RankOptions(split=split), contenders(programs, self.table)
        return RankResult((rank_on(self.table, self.bench, all_of_them, options),))


def _is_of(table: Table, workbench: Workbench) -> bool:
    try:
        table.check(workbench.network)
    except EmqError:
        return False
    return True
