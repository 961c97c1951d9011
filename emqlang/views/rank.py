"""Rankings as a screen, as JSON, or as CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from emqlang.grammar.text.printer import show
from emqlang.scores.correlation import PAPER_DRAWS, PAPER_ROWS, RATIOS
from emqlang.tasks.rank import Ranking, RankResult, Standing
from emqlang.views import render
from emqlang.views.render import Cell, Column, Csv, View

SCHEMA = "emqlang.rank/1"
TOPS = tuple(f"@{ratio:.0%}" for ratio in RATIOS)
LONGEST = 32  # characters of a text that stands for a name


def screen(result: RankResult) -> None:
    """A table of proxies per benchmark table; for several, their means over all tables first."""
    if len(result.rankings) > 1:
        _means(result.rankings)
        render.text()
    for number, ranking in enumerate(result.rankings):
        if number:
            render.text()
        _introduce(ranking)
        render.text()
        render.table(_columns(ranking), [_row(standing) for standing in ranking.standings])
        if any(standing.seen for standing in ranking.standings):
            render.note(SEEN)


def record(result: RankResult) -> dict[str, Any]:
    """The object of `rank --json`."""
    return {"schema": SCHEMA, "tables": [_table_record(ranking) for ranking in result.rankings]}


def table(result: RankResult) -> Csv:
    """A line for each table and proxy."""
    tops = (f"{part}{top}" for top in TOPS for part in ("rho", "low", "high"))
    figures = ("tau", "precision", "partial", "regret", "cost", "seconds", "images", "seen")
    header = ["table", "proxy", *tops, *figures]
    return header, _rows(result)


VIEWS: Final = {RankResult: View(screen, record, table)}


def named(standing: Standing) -> str:
    """A proxy's name, or the beginning of its text."""
    return standing.name if len(standing.name) <= LONGEST else standing.name[: LONGEST - 1] + "…"


MARK = " †"  # behind the name of a proxy that has seen rows
SEEN = "† was searched on some of these rows; --split heldout ranks on the others"

SEEN_ANY = "† was searched on rows of some of these tables"


def _marked(standing: Standing, *, seen: bool) -> str:
    return named(standing) + (MARK if seen else "")


ROWS = {"search": "search rows", "heldout": "held-out rows", "all": "rows"}
TRUTHS = {"top1": "accuracy", "loss": "loss"}
WITHIN = "rows are ranked within {} size budgets; figures are means over these"
PAPER = f"mean and deviation of {PAPER_DRAWS} draws of {PAPER_ROWS} rows"


def _introduce(ranking: Ranking) -> None:
    table, options, accuracy = ranking.table, ranking.options, ranking.table.accuracy
    size = f"{len(table):,} {ROWS[options.split]} of {table.facts['model']['name']}"
    menu = " ".join(map(str, table.menu)) + (f", {table.spec.fix}" if table.spec.fix else "")
    truth = f"{TRUTHS[options.by]} on {table.facts['images']:,} images"
    strata = ", ".join(f"{name} {how}" for name, how in ranking.strata.items())
    if options.stratify and not strata:
        strata = "none: no layer's own bits decide that much"
    by_score = options.topk_by == "score"
    fields = [
        ("table", f"{table.name}: {size}"),
        ("menu", menu),
        ("truth", f"{truth}, {accuracy.min():.1%} to {accuracy.max():.1%}"),
        ("budgets", WITHIN.format(len(table.budgets)) if table.budgets else ""),
        ("tops", "the best rows by each proxy's own score" if by_score else ""),
        ("protocol", PAPER if options.protocol == "paper" else ""),
        ("held fixed", strata),
        ("statistics", ranking.data),
    ]
    render.fields(fields)


def _columns(ranking: Ranking) -> list[Column]:
    against = ranking.options.against
    return [
        Column("proxy", style="bold"),
        *(Column(top, "right") for top in TOPS),
        *([Column(f"less {against} @100%", "right")] if against else []),
        Column("regret", "right", optional=True),
        Column("tau", "right", optional=True),
        Column("p@20%", "right", optional=True),
        Column("at size", "right", optional=True),
        Column("statistics", style="dim", optional=True),
        Column("ms", "right", "dim", optional=True),
    ]


def _row(standing: Standing) -> list[Cell]:
    tops = [
        f"{rho:.3f} {span(low, high)}"
        for rho, low, high in zip(standing.rho, standing.low, standing.high, strict=True)
    ]
    difference = [] if standing.difference is None else [span(*standing.difference[:, -1])]
    return [
        _marked(standing, seen=standing.seen),
        *tops,
        *difference,
        f"{standing.regret:.2f}",
        f"{standing.tau:.3f}",
        f"{standing.precision:.2f}",
        f"{standing.partial:.3f}",
        str(standing.cost),
        f"{standing.seconds * 1e3:.1f}",
    ]


def span(low: float, high: float) -> str:
    """An interval: `.42–.81`."""
    return f"{_short(low)}–{_short(high)}"


def _short(value: float) -> str:
    return f"{value:.2f}".replace("0.", ".", 1).replace("-.00", ".00")


def _means(rankings: Sequence[Ranking]) -> None:
    """Each proxy's mean over the tables, the best first."""
    by_name: dict[str, list[tuple[Standing, str]]] = {}
    for ranking in rankings:
        for standing in ranking.standings:
            by_name.setdefault(standing.name, []).append((standing, ranking.table.name))
    everywhere = [pairs for pairs in by_name.values() if len(pairs) == len(rankings)]
    everywhere.sort(key=lambda pairs: -sum(standing.fitness for standing, _ in pairs))
    render.heading(f"mean over {len(rankings)} tables")
    render.text()
    columns = [
        Column("proxy", style="bold"),
        *(Column(top, "right") for top in TOPS),
        Column("regret", "right"),
        Column("least @100%", "right"),
        Column("on"),
    ]
    render.table(columns, [_mean_row(pairs) for pairs in everywhere])
    if any(standing.seen for pairs in everywhere for standing, _ in pairs):
        render.note(SEEN_ANY)


def _mean_row(pairs: Sequence[tuple[Standing, str]]) -> list[Cell]:
    """A proxy's mean over tables, and the table on which it is worst."""
    rhos = np.mean([standing.rho for standing, _ in pairs], axis=0)
    lost = float(np.mean([standing.regret for standing, _ in pairs]))
    worst, table = min(pairs, key=lambda pair: pair[0].rho[-1])
    means = [f"{mean:.3f}" for mean in rhos]
    name = _marked(worst, seen=any(standing.seen for standing, _ in pairs))
    return [name, *means, f"{lost:.2f}", f"{worst.rho[-1]:.3f}", table]


def _table_record(ranking: Ranking) -> dict[str, Any]:
    return {
        "table": ranking.table.name,
        "model": ranking.table.facts["model"],
        "rows": len(ranking.table),
        "terms": asdict(ranking.options),
        "strata": dict(ranking.strata),
        "budgets": list(ranking.table.budgets),
        "data": ranking.data or None,
        "ratios": list(RATIOS),
        "proxies": [_standing_record(standing) for standing in ranking.standings],
        "problems": [problem.as_dict() for problem in ranking.problems],
    }


def _standing_record(standing: Standing) -> dict[str, Any]:
    difference = standing.difference
    return {
        "name": standing.program.name or None,
        "text": standing.program.text,
        "elaborated": show(standing.program.elaborated),
        "rho": standing.rho.tolist(),
        "low": standing.low.tolist(),
        "high": standing.high.tolist(),
        "difference": None
        if difference is None
        else {"low": difference[0].tolist(), "high": difference[1].tolist()},
        "tau": standing.tau,
        "precision": standing.precision,
        "partial": standing.partial,
        "regret": standing.regret,
        "cost": str(standing.cost),
        "images": standing.images,
        "seen": standing.seen,
        "made_for": asdict(domain) if (domain := standing.program.domain) else None,
        "seconds": standing.seconds,
    }


def _rows(result: RankResult) -> Iterator[list[object]]:
    for ranking in result.rankings:
        for one in ranking.standings:
            rhos = np.stack([one.rho, one.low, one.high], axis=1).ravel().tolist()
            others = (one.tau, one.precision, one.partial, one.regret)
            taken = (str(one.cost), one.seconds, one.images, one.seen)
            yield [ranking.table.name, one.name, *rhos, *others, *taken]
