"""Programs of a run, as a screen, as JSON, and as a `.emq` file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from emqlang.evolve.history import Entry, Fate, Lineage, Programs
from emqlang.evolve.ledger import Ledger
from emqlang.evolve.reasons import MEANINGS
from emqlang.scores.correlation import RATIOS
from emqlang.store import write_text
from emqlang.tasks.domains import searched_on
from emqlang.tasks.heldout import HeldOut
from emqlang.views import render
from emqlang.views.render import Column, View

SCHEMA = "emqlang.run"


def programs(listed: Programs, heldout: Mapping[int, HeldOut] | None = None) -> None:
    """One line per program; where they are known, with what it is worth on held-out rows."""
    unseen = heldout or {}
    columns = [
        Column("program", "right", "dim"),
        Column("nodes", "right"),
        Column("fitness", "right"),
        *(Column(f"@{ratio:.0%}", "right", optional=True) for ratio in RATIOS),
        *([Column("held out", "right"), Column("regret", "right")] if unseen else []),
        Column("statistics", style="dim", optional=True),
        Column("", folds=True),
    ]
    render.table(columns, [_row(entry, unseen) for entry in listed.entries])


def _row(entry: Entry, unseen: Mapping[int, HeldOut]) -> list[str]:
    tops = [f"{rho:.3f}" for rho in _tops(entry)]
    numbers = (str(entry.number), str(entry.nodes), f"{entry.fitness:.4f}")
    one, worth = unseen.get(entry.number), list[str]()
    if unseen:
        known = one is not None and one.score.finite
        worth = [f"{one.score.fitness:.4f}", f"{one.regret:.2f}"] if one and known else ["", ""]
    return [*numbers, *tops, *worth, str(entry.cost), entry.text]


def _tops(entry: Entry) -> list[float]:
    """Spearman's correlation at each ratio, its mean over the benchmarks."""
    benchmarks = len(entry.rho) // len(RATIOS)
    return [sum(entry.rho[i :: len(RATIOS)]) / max(benchmarks, 1) for i in range(len(RATIOS))]


def _record(command: str, entries: Iterable[Entry]) -> dict[str, Any]:
    records = [entry_record(entry) for entry in entries]
    return {"schema": f"{SCHEMA}.{command}/1", "programs": records}


def entry_record(entry: Entry) -> dict[str, Any]:
    """A program's record in JSON."""
    return {
        **entry.__dict__,
        "cost": str(entry.cost),
        "reason": entry.reason.value,
        "parents": list(entry.parents),
        "rho": list(entry.rho),
    }


def write_emq(path: Path, ledger: Ledger, listed: Programs) -> None:
    """The programs as a `.emq` file, each with its fitness, its origin and what it is made for."""
    facts, options = ledger.facts, ledger.options
    made_for = searched_on(options).lines
    draws = f" with {options.label_draws} labels drawn for each" if options.label_draws else ""
    if options.stat_rounding != "nearest":
        draws += f", of the errors that {options.stat_rounding} leaves"
    lines = [
        f"# Found by `{facts['command']}`, seed {ledger.settings.seed},",
        f"# on {', '.join(options.tables)}; statistics of {options.stat_images} images{draws}.",
    ]
    for entry in listed.entries:
        pairs = zip(RATIOS, _tops(entry), strict=True)
        tops = ", ".join(f"@{ratio:.0%} {rho:.3f}" for ratio, rho in pairs)
        fitness = f"fitness {entry.fitness:.4f} on the {options.split} rows ({tops})"
        lines += ["", f"## Program {entry.number}: {fitness}.", *made_for]
        lines += [f"evolved_{entry.number} = {entry.text}"]
    write_text(path, "\n".join(lines) + "\n")
    render.note(f"{len(listed.entries)} programs in {path}")


def lineage(ancestors: Lineage) -> None:
    """Ancestors as a tree."""
    render.tree(
        (depth, f"{entry.number} by {entry.operator}: {entry.text}", _fitness(entry))
        for depth, entry in ancestors.generations
    )


def _fitness(entry: Entry) -> str:
    """A program's fitness, or why it has none."""
    return MEANINGS[entry.reason] if entry.fitness is None else f"{entry.fitness:.4f}"


def fate(became: Fate) -> None:
    """What became of a program."""
    entry = became.entry
    parents = f" of {' and '.join(map(str, entry.parents))}" if entry.parents else ""
    again = f"; proposed again {entry.repeats:,} times" if entry.repeats else ""
    origin = f"in step {entry.step} on island {entry.island} by {entry.operator}"
    fields = [
        ("program", f"{entry.number}: {entry.text}"),
        ("fate", MEANINGS[entry.reason] + (f": {entry.same}" if entry.same else "")),
        ("fitness", f"{entry.fitness:.4f}" if entry.fitness is not None else ""),
        ("came up", origin + parents + again),
    ]
    render.fields(fields)


VIEWS: Final = {
    Programs: View(programs, lambda listed: _record(listed.command, listed.entries)),
    Lineage: View(
        lineage,
        lambda ancestors: _record("lineage", (entry for _, entry in ancestors.generations)),
    ),
    Fate: View(fate, lambda became: _record("why", [became.entry])),
}
