"""Standings as a screen, as JSON, or as CSV."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from emqlang.grammar.text.printer import show
from emqlang.scores.correlation import PAPER_DRAWS, PAPER_ROWS, RATIOS
from emqlang.tasks.rank import Standing, Standings
from emqlang.views import render
from emqlang.views.render import Cell, Column

SCHEMA = "emqlang.rank/1"
TOPS = tuple(f"@{ratio:.0%}" for ratio in RATIOS)
LONGEST = 32  # characters of a text that stands for a name


def screen(found: Sequence[Standings]) -> None:
    """A table of proxies for each benchmark table; for several, their mean over all tables first."""
    if len(found) > 1:
        _means(found)
    for number, standings in enumerate(found):
        if number or len(found) > 1:
            render.text()
        _introduce(standings)
        render.text()
        render.table(_columns(standings), [_row(standing) for standing in standings.standings])


def as_json(found: Sequence[Standings]) -> None:
    render.json_object({"schema": SCHEMA, "tables": [_record(standings) for standings in found]})


def as_csv(found: Sequence[Standings]) -> None:
    tops = (f"{part}{top}" for top in TOPS for part in ("rho", "low", "high"))
    render.csv_rows(
        ["table", "proxy", *tops, "tau", "precision", "partial", "cost", "seconds"], _csv(found)
    )


FORMATS: Mapping[str, Callable[[Sequence[Standings]], None]] = MappingProxyType(
    {"screen": screen, "json": as_json, "csv": as_csv}
)


def named(standing: Standing) -> str:
    """A proxy's name, or the beginning of its text."""
    return standing.name if len(standing.name) <= LONGEST else standing.name[: LONGEST - 1] + "…"


def _introduce(standings: Standings) -> None:
    table, terms = standings.table, standings.terms
    model, whole = (
        table.facts["model"],
        {"search": "search rows", "heldout": "held-out rows", "all": "rows"}[terms.split],
    )
    truth = {"top1": "accuracy", "loss": "loss"}[terms.by]
    protocol = (
        f"mean and deviation of {PAPER_DRAWS} draws of {PAPER_ROWS} rows"
        if terms.protocol == "paper"
        else ""
    )
    strata = ", ".join(f"{name} {how}" for name, how in standings.strata.items())
    render.fields([
        ("table", f"{table.name}: {len(table):,} {whole} of {model['name']}"),
        ("menu", " ".join(map(str, table.menu)) + (f", {table.spec.fix}" if table.spec.fix else "")),
        ("truth", f"{truth} on {table.facts['images']:,} images, {table.accuracy.min():.1%} to {table.accuracy.max():.1%}"),
        ("tops", "the best rows by each proxy's own score" if terms.topk_by == "score" else ""),
        ("protocol", protocol),
        ("held fixed", strata or ("none: no layer's own bits decide that much" if terms.stratify else "")),
        ("statistics", standings.data),
    ])  # fmt: skip


def _columns(standings: Standings) -> list[Column]:
    against = standings.terms.against
    return [
        Column("proxy", style="bold"),
        *(Column(top, "right") for top in TOPS),
        *([Column(f"less {against} @100%", "right")] if against else []),
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
        named(standing), *tops, *difference, f"{standing.tau:.3f}", f"{standing.precision:.2f}", f"{standing.partial:.3f}",
        str(standing.cost), f"{standing.seconds * 1e3:.1f}",
    ]  # fmt: skip


def span(low: float, high: float) -> str:
    """An interval: `.42–.81`."""
    return f"{_short(low)}–{_short(high)}"


def _short(value: float) -> str:
    return f"{value:.2f}".replace("0.", ".", 1).replace("-.00", ".00")


def _means(found: Sequence[Standings]) -> None:
    """Each proxy's mean over the tables, the best first."""
    by_name: dict[str, list[Standing]] = {}
    for standings in found:
        for standing in standings.standings:
            by_name.setdefault(standing.name, []).append(standing)
    whole = [own for own in by_name.values() if len(own) == len(found)]
    render.heading(f"mean over {len(found)} tables")
    render.text()
    rows = [
        (named(own[0]), *(f"{sum(s.rho[i] for s in own) / len(own):.3f}" for i in range(len(RATIOS))), f"{worst.rho[-1]:.3f}",
         worst_table)
        for own, worst, worst_table in ((own, *_worst(own, found)) for own in sorted(whole, key=_mean_fitness, reverse=True))
    ]  # fmt: skip
    columns = [
        Column("proxy", style="bold"),
        *(Column(top, "right") for top in TOPS),
        Column("least @100%", "right"),
        Column("on"),
    ]
    render.table(columns, rows)


def _mean_fitness(own: Sequence[Standing]) -> float:
    return sum(standing.fitness for standing in own) / len(own)


def _worst(own: Sequence[Standing], found: Sequence[Standings]) -> tuple[Standing, str]:
    return min(
        ((s, t.table.name) for s, t in zip(own, found, strict=True)),
        key=lambda pair: pair[0].rho[-1],
    )


def _record(standings: Standings) -> dict[str, Any]:
    table, terms = standings.table, standings.terms
    return {
        "table": table.name,
        "model": table.facts["model"],
        "rows": len(table),
        "terms": {name: getattr(terms, name) for name in terms.__dataclass_fields__},
        "strata": dict(standings.strata),
        "data": standings.data or None,
        "ratios": list(RATIOS),
        "proxies": [_standing_record(standing) for standing in standings.standings],
        "problems": [problem.as_dict() for problem in standings.problems],
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
        "cost": str(standing.cost),
        "seconds": standing.seconds,
    }


def _csv(found: Sequence[Standings]) -> Iterator[list[object]]:
    for standings in found:
        for standing in standings.standings:
            spans = zip(standing.rho, standing.low, standing.high, strict=True)
            rhos = [float(value) for triple in spans for value in triple]
            own = (
                standing.tau,
                standing.precision,
                standing.partial,
                str(standing.cost),
                standing.seconds,
            )
            yield [standings.table.name, standing.name, *rhos, *own]
