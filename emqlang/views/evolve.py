"""Runs of the search: begun, gone on with, and read, as screens, as JSON, and as `.emq` files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import torch

from emqlang import __version__
from emqlang.evolve.history import Entry
from emqlang.evolve.ledger import Ledger, Progress
from emqlang.evolve.reasons import MEANINGS, Reason
from emqlang.evolve.settings import Settings
from emqlang.grammar.diagnostics import error
from emqlang.grammar.ops import VERSION
from emqlang.scores.correlation import RATIOS
from emqlang.tasks.arenas import ArenaDoor
from emqlang.views import render
from emqlang.views.render import Column

SCHEMA = "emqlang.run"
RUNS = Path("runs")  # where runs go that are given no place


@dataclass(frozen=True)
class Judged:
    """By what a run's candidates are judged, in the words of the command line."""

    tables: tuple[str, ...]
    split: str = "search"
    by: str = "top1"
    stat_images: int = 64
    device: str = "auto"
    cache: bool = True


def free_place() -> Path:
    """The first of runs/evolve-1, runs/evolve-2, ... that is not taken."""
    return next(place for number in count(1) if not (place := RUNS / f"evolve-{number}").exists())


def begin(
    folder: Path, settings: Settings, judged: Judged, door: ArenaDoor, command: str
) -> Ledger:
    """A new run. Raises E301 where there is one."""
    facts = {
        "settings": settings.as_dict(),
        "judged": {**judged.__dict__, "tables": list(judged.tables)},
        "arena": door.open().fingerprint,
        "op_table": VERSION,
        "versions": {"emqlang": __version__, "torch": torch.__version__},
        "command": command,
    }
    return Ledger.create(folder, facts)


def judged_of(ledger: Ledger) -> Judged:
    told = ledger.facts()["judged"]
    return Judged(**{**told, "tables": tuple(told["tables"])})


def check_same(ledger: Ledger, door: ArenaDoor) -> None:
    """Raises E316, naming what is not as it was when the run was begun."""
    facts = ledger.facts()
    changed = [
        f"{name} was {was}, and is {now}"
        for name, was, now in (
            ("the op table", facts["op_table"], VERSION),
            ("emqlang", facts["versions"]["emqlang"], __version__),
            ("torch", facts["versions"]["torch"], torch.__version__),
        )
        if was != now
    ]
    if facts["arena"] != door.open().fingerprint:
        changed.append(
            "the tables, their networks, or the images that statistics are taken on are others"
        )
    if changed:
        raise error(
            "E316",
            f"the run cannot go on: {'; '.join(changed)}",
            "begin a new one",
            path=str(ledger.folder),
        )


def line(progress: Progress, seconds: float, evaluated_before: int) -> str:
    """Where a run stands, on one line."""
    speed = (progress.evaluated - evaluated_before) / max(seconds, 1e-9)
    proposals = sum(progress.funnel.values())
    shares = [
        f"{reason.value.replace('_', ' ')} {progress.funnel[reason.value] / proposals:.0%}"
        for reason in Reason
        if reason is not Reason.SCORED and progress.funnel.get(reason.value, 0) / proposals >= 0.01
    ]
    return f"best {progress.best:.4f}, median {progress.median:.4f}, {speed:.0f}/s; {', '.join(shares)}"


def finished(ledger: Ledger, progress: Progress, front: Sequence[Entry]) -> None:
    """What a run found, and what became of all that was proposed."""
    seconds, memory = ledger.select("SELECT sum(seconds), max(memory) FROM times")[0]
    render.fields([
        ("run", str(ledger.folder)),
        ("evaluated", f"{progress.evaluated:,} programs in {progress.step + 1:,} steps and {render.duration(seconds)}"),
        ("memory", f"{memory / 2**30:.2f} GiB at most"),
    ])  # fmt: skip
    render.text()
    funnel(progress)
    render.text()
    entries(front)


def funnel(progress: Progress) -> None:
    """The reject ladder: how many proposals each rung caught."""
    proposals = sum(progress.funnel.values())
    rows = [
        (
            f"{progress.funnel[reason.value]:,}",
            f"{progress.funnel[reason.value] / proposals:.1%}",
            MEANINGS[reason],
        )
        for reason in Reason
        if progress.funnel.get(reason.value)
    ]
    render.table(
        [
            Column("proposals", "right"),
            Column("", "right", "dim"),
            Column("what became of them", folds=True),
        ],
        rows,
    )


def entries(found: Iterable[Entry]) -> None:
    """Programs, a line each."""
    tops = (Column(f"@{ratio:.0%}", "right") for ratio in RATIOS)
    columns = [Column("program", "right", "dim"), Column("nodes", "right"), Column("fitness", "right"), *tops,
               Column("statistics", style="dim"), Column("", folds=True)]  # fmt: skip
    rows = [
        (
            str(e.number),
            str(e.nodes),
            f"{e.fitness:.4f}",
            *(f"{value:.3f}" for value in tops_of(e)),
            str(e.cost),
            e.text,
        )
        for e in found
    ]
    render.table(columns, rows)


def tops_of(entry: Entry) -> list[float]:
    """Spearman's correlation at each ratio, its mean over the courts."""
    courts = len(entry.rho) // len(RATIOS)
    return [sum(entry.rho[i :: len(RATIOS)]) / max(courts, 1) for i in range(len(RATIOS))]


def entry_record(entry: Entry) -> dict[str, Any]:
    return {**entry.__dict__, "cost": str(entry.cost), "reason": entry.reason.value, "parents": list(entry.parents),
            "rho": list(entry.rho)}  # fmt: skip


def entries_json(kind: str, found: Iterable[Entry]) -> None:
    render.json_object(
        {"schema": f"{SCHEMA}.{kind}/1", "programs": [entry_record(entry) for entry in found]}
    )


def as_emq(ledger: Ledger, found: Sequence[Entry], prefix: str = "evolved") -> str:
    """The programs as a `.emq` file: each with its fitness and where it comes from."""
    facts = ledger.facts()
    lines = [
        f"# Found by `{facts['command']}`, seed {facts['settings']['seed']},",
        f"# on {', '.join(facts['judged']['tables'])}; statistics of {facts['judged']['stat_images']} images.",
    ]
    for entry in found:
        tops = ", ".join(
            f"@{ratio:.0%} {value:.3f}" for ratio, value in zip(RATIOS, tops_of(entry), strict=True)
        )
        lines += ["", f"## Program {entry.number}: fitness {entry.fitness:.4f} on the {facts['judged']['split']} rows ({tops}).",
                  f"{prefix}_{entry.number} = {entry.text}"]  # fmt: skip
    return "\n".join(lines) + "\n"


def lineage(found: Iterable[tuple[int, Entry]]) -> None:
    """Ancestors as a tree."""
    render.tree(
        (depth, f"{entry.number} by {entry.operator}: {entry.text}", f"{entry.fitness:.4f}")
        for depth, entry in found
    )


def why(entry: Entry) -> None:
    """What became of a program."""
    told = MEANINGS[entry.reason] + (f": {entry.same}" if entry.same else "")
    render.fields([
        ("program", f"{entry.number}: {entry.text}"),
        ("fate", told),
        ("fitness", f"{entry.fitness:.4f}" if entry.fitness is not None else ""),
        ("came up", f"in step {entry.step} on island {entry.island} by {entry.operator}"
                    + (f" of {' and '.join(map(str, entry.parents))}" if entry.parents else "")
                    + (f"; proposed again {entry.repeats:,} times" if entry.repeats else "")),
    ])  # fmt: skip
