"""What a report tells of a run, a recipe or a benchmark table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from emqlang.evolve import history
from emqlang.evolve.history import Curve, Lineage, Programs
from emqlang.evolve.ledger import FILE, Ledger, Status
from emqlang.grammar.diagnostics import Diagnostic, EmqError, error
from emqlang.grammar.library import LIBRARY, RECOMMENDED
from emqlang.grammar.program import Program, parse
from emqlang.quant.networks.network import Network
from emqlang.quant.progress import Progress, silent
from emqlang.quant.ptq.quantized import read_recipe
from emqlang.quant.ptq.recipe import Recipe, load_recipe
from emqlang.quant.tables.shelf import shipped
from emqlang.tasks.bench import Info, info
from emqlang.tasks.evaluate import completed
from emqlang.tasks.evolve import EvolveResult, TableArena
from emqlang.tasks.heldout import few_rows, held_out
from emqlang.tasks.rank import RankOptions, RankResult, rank
from emqlang.tasks.workbench import WorkbenchOptions

BESIDE = ("weights",)  # which recommended proxies stand beside a run's own


@dataclass(frozen=True)
class RunReport:
    """A search.

    curve     evaluated programs, and the best fitness so far, at each step that raised it
    lineage   of the best program
    rankings  the run's front beside the recommended proxy, the paper's and the baselines, on rows
              that it has not seen; None where there are too few to rank
    """

    result: EvolveResult
    curve: Curve
    lineage: Lineage | None
    rankings: RankResult | None

    @property
    def title(self) -> str:
        return f"Search {self.result.ledger.folder}"

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        more = self.rankings.diagnostics if self.rankings else ()
        return tuple(dict.fromkeys((*self.result.diagnostics, *more)))


@dataclass(frozen=True)
class RecipeReport:
    """Chosen bits.

    network  whose layers' sizes are shown; None where it cannot be loaded, and why
    """

    recipe: Recipe
    network: Network | None
    missing: tuple[Diagnostic, ...]

    @property
    def title(self) -> str:
        return f"Bits of {self.recipe.model.name}"

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        return self.missing


@dataclass(frozen=True)
class TableReport:
    """A benchmark table: what it is, and the library ranked on it."""

    info: Info
    ranking: RankResult

    @property
    def title(self) -> str:
        return f"Table {self.info.table.name}"

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        return self.ranking.diagnostics


Report = RunReport | RecipeReport | TableReport


def report(source: str, progress: Progress = silent) -> Report:
    """Reads a run's folder, a recipe or a checkpoint, or a table by name or file.

    Raises E301 for what is none of these, and what reading and ranking them raise.
    """
    path = Path(source)
    if (path / FILE).is_file():
        return run_report(path, progress)
    if source in shipped() or path.suffix == ".table":
        options, settings = RankOptions(), WorkbenchOptions()
        return TableReport(info(source), rank([], [source], options, settings, progress))
    if path.exists():
        return recipe_report(path)
    help = "give a run's folder, a recipe, a folder of `quantize`, or a table"
    raise error("E301", f"there is no '{source}'", help)


def run_report(folder: Path, progress: Progress) -> RunReport:
    """A run, finished or not, as far as its steps are committed."""
    ledger = Ledger(folder, read_only=True)
    status, best = ledger.status(), history.front(ledger)
    if status is None or not best.entries:
        return RunReport(_result(ledger, status, best, progress), (), None, None)
    winner = best.entries[-1]
    return RunReport(
        _result(ledger, status, best, progress),
        history.curve(ledger),
        history.lineage(ledger, winner.number),
        _rankings(ledger, best, progress),
    )


def _rankings(ledger: Ledger, best: Programs, progress: Progress) -> RankResult | None:
    """The front and the others on held-out rows; None where a table has too few of them."""
    programs = [*_programs(best), *(LIBRARY[RECOMMENDED[name]] for name in BESIDE), LIBRARY["emq"]]
    options, settings = RankOptions(split="heldout"), WorkbenchOptions()
    try:
        return rank(programs, ledger.options.tables, options, settings, progress)
    except EmqError as reason:
        if any(one.code != "E406" for one in reason.diagnostics):
            raise
        return None


def _result(
    ledger: Ledger, status: Status | None, best: Programs, progress: Progress
) -> EvolveResult:
    arena = TableArena.of(ledger.settings, ledger.options).open(progress)
    unseen = held_out(arena, ledger.settings, ledger.options, best.entries)
    return EvolveResult(ledger, status, best, False, unseen, tuple(few_rows(arena)))


def _programs(best: Programs) -> Sequence[Program]:
    """Those of the front that the language can say."""
    found = []
    for entry in best.entries:
        try:
            found.append(parse(entry.text))
        except EmqError:  # genes of the paper's search
            continue
    return found


def recipe_report(path: Path) -> RecipeReport:
    """A recipe's file, a checkpoint, or the folder of one."""
    recipe = load_recipe(path) if path.suffix == ".json" else read_recipe(path)
    try:
        network = completed(WorkbenchOptions(), recipe).network()
    except EmqError as reason:
        return RecipeReport(recipe, None, tuple(reason.diagnostics))
    return RecipeReport(recipe, network, ())
