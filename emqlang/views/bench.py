"""Benchmark tables as screens, as JSON and as data cards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from emqlang.quant.tables.build import Built
from emqlang.quant.tables.spec import IMPORTED
from emqlang.quant.tables.table import Table, known
from emqlang.tasks.bench import BestRows, Info, Listing, Verdicts
from emqlang.tasks.truth import Ceiling
from emqlang.views import render
from emqlang.views.rank import TOPS, span
from emqlang.views.render import Column, View

SCHEMA = "emqlang.bench"


def built_screen(built: Built) -> None:
    """What a build did."""
    speed = f", {built.rows / built.seconds:.2f} rows a second" if built.rows else ""
    now = ", as before"
    if built.rows:
        duration = render.duration(built.seconds)
        now = f", of which {built.rows:,} measured now in {duration}{speed}"
    shared = f"{built.saved:.1%} of the work was shared with other rows and not done again"
    rows = f"{built.before + built.rows:,}{now}"
    render.fields([("table", str(built.table)), ("rows", rows), ("prefixes", shared)])


def built_record(built: Built) -> dict[str, Any]:
    return {"schema": f"{SCHEMA}.build/1", **asdict(built), "table": str(built.table)}


def listing_screen(listing: Listing) -> None:
    """A line for each table."""
    columns = [
        Column("table", style="bold"),
        Column("network"),
        Column("rows", "right"),
        *map(Column, ("menu", "rounding")),
        *(Column(title, "right") for title in ("accuracy", "float")),
    ]
    render.table(columns, [_line(table) for table in listing.tables])


def listing_record(listing: Listing) -> dict[str, Any]:
    return {"schema": f"{SCHEMA}.list/1", "tables": [_facts(table) for table in listing.tables]}


def rows_screen(best: BestRows) -> None:
    """The best rows."""
    table, count = best.table, len(best.rows)
    columns = [
        Column("row", "right", "dim"),
        *(Column(title, "right") for title in ("accuracy", "loss", "MiB", "GBOPs")),
        Column("", style="dim"),
        Column("bits of the groups", folds=True),
    ]
    render.table(columns, [_row(table, i) for i in best.rows])
    if count < len(table):
        more = "--rows shows more, and `emqlang bench export` writes all"
        render.note(f"the best {count:,} of {len(table):,} rows; {more}")


def _row(table: Table, i: int) -> tuple[str, ...]:
    loss = known(table.loss[i])
    return (
        str(table.ids[i]),
        f"{table.accuracy[i]:.2%}",
        "" if loss is None else f"{loss:.4f}",
        f"{table.size[i] / 2**20:.4f}",
        f"{table.bops[i] / 1e9:.4f}",
        "" if table.search[i] else "held out",
        table.config(i),
    )


def rows_record(best: BestRows) -> dict[str, Any]:
    table = best.table
    rows = [
        {
            "row": int(table.ids[i]),
            "config": table.config(i),
            "search": bool(table.search[i]),
            "accuracy": float(table.accuracy[i]),
            "loss": known(table.loss[i]),
            "agreement": known(table.agreement[i]),
            "size": int(table.size[i]),
            "bops": int(table.bops[i]),
        }
        for i in best.rows
    ]
    schema = f"{SCHEMA}.show/1"
    return {"schema": schema, "table": table.name, "groups": table.groups, "rows": rows}


def info_screen(info: Info) -> None:
    """What a table is, its ceilings, and how much each layer's own bits decide."""
    render.fields(_about(info.table))
    render.text()
    titles = (*TOPS, "rows")
    columns = [Column("ceiling", style="bold"), *(Column(title, "right") for title in titles)]
    render.table(columns, [(c.name, *_tops(c), str(c.rows)) for c in info.ceilings])
    render.text()
    render.fields([(c.name, c.what) for c in info.ceilings])
    render.text()
    render.table(
        [Column("its own bits", style="bold"), Column("Spearman", "right")], list(_own_bits(info))
    )


def info_record(info: Info) -> dict[str, Any]:
    return {
        "schema": f"{SCHEMA}.info/1",
        **_facts(info.table),
        "ceilings": [ceiling.as_dict() for ceiling in info.ceilings],
        "own_bits": info.own_bits,
    }


def verdicts_screen(verdicts: Verdicts) -> None:
    """A line for each sound table; what is wrong with the others goes to stderr."""
    for name, verdict in verdicts.tables.items():
        if isinstance(verdict, Table):
            render.text(f"{name}: {len(verdict):,} rows, whole and unedited")
        else:
            render.diagnostics(verdict.diagnostics)


def verdicts_record(verdicts: Verdicts) -> dict[str, Any]:
    tables = {
        name: {"errors": [d.as_dict() for d in getattr(verdict, "diagnostics", ())]}
        for name, verdict in verdicts.tables.items()
    }
    return {"schema": f"{SCHEMA}.validate/1", "tables": tables}


VIEWS: Final = {
    Built: View(built_screen, built_record),
    Listing: View(listing_screen, listing_record),
    BestRows: View(rows_screen, rows_record),
    Info: View(info_screen, info_record),
    Verdicts: View(verdicts_screen, verdicts_record),
}


def card(info: Info) -> str:
    """The data card, as Markdown."""
    lines = [f"# {info.table.name}", ""]
    lines += [f"- **{name}**: {value}" for name, value in _about(info.table) if value]
    if sequence := info.sequence:
        compared = f"on {sequence.rows} rows learned in sequence too"
        moved = f"sequence: {100 * sequence.moved:+.2f} points"
        rho = f"Spearman {sequence.spearman:.3f}"
        lines.append(f"- **composition**: {compared} {rho}; {moved}")
    lines += ["", "## Ceilings", "", f"| | {' | '.join(TOPS)} | rows | what it is |"]
    lines += ["|---|" + "---:|" * (len(TOPS) + 1) + "---|"]
    for c in info.ceilings:
        tops = " | ".join(map(" ".join, _tops(c)))
        lines.append(f"| {c.name} | {tops} | {c.rows} | {c.what} |")
    lines += ["", "## Spearman of each layer's own bits with the accuracy", ""]
    lines += ["| layer | |", "|---|---:|"]
    lines += [f"| {name} | {value} |" for name, value in _own_bits(info)]
    return "\n".join(lines) + "\n"


def _about(table: Table) -> list[tuple[str, str]]:
    facts, spec = table.facts, table.spec
    model, plain, machine = facts["model"], facts.get("float"), facts["machine"]
    weights = f"weights {model['weights']} (sha256 {model['weights_sha256']})"
    configurations = f"{len(table):,} distinct configurations of {len(table.groups)} groups"
    if table.budgets:
        configurations += f" at the edges of {len(table.budgets)} size budgets"
    searched = f"{int(table.search.sum()):,} may be searched on"
    held_out = f"{int((~table.search).sum()):,} are held out"
    accuracy = f"{_span(table, 2)}, median {np.median(table.accuracy):.2%}"
    versions = ", ".join(map(" ".join, facts["versions"].items()))
    return [
        ("network", f"{model['name']}, {weights}"),
        ("rows", f"{configurations}, seed {spec.seed}; {searched}, {held_out}"),
        ("menu", " ".join(map(str, table.menu)) + (f"; fixed: {spec.fix}" if spec.fix else "")),
        ("quantization", _method(table)),
        ("calibration", facts.get("calibration", {}).get("source", "")),
        ("test", facts.get("test", {}).get("source", "")),
        ("accuracy", accuracy + (f"; float {plain['accuracy']:.2%}" if plain else "")),
        ("built by", facts["command"]),
        ("built with", f"{versions}; {machine['processor']}, {machine['kernels']}"),
        ("licence", facts.get("licence", "")),
    ]


def _method(table: Table) -> str:
    spec = table.spec
    if spec.rounding == IMPORTED:
        return f"not known: imported from {table.facts.get('source', 'a file')}"
    parts = [
        f"{spec.rounding} rounding",
        f"{spec.iterations:,} iterations per unit" if spec.procedure.learned else "",
        "composed of units learned once for each combination" if spec.composed else "",
        f"activations at {spec.act_bits} bits",
        f"ranges by {spec.range}",
        f"{spec.calib_images:,} calibration images",
    ]
    return ", ".join(filter(None, parts))


def _line(table: Table) -> tuple[str, ...]:
    plain, spec = table.facts.get("float"), table.spec
    return (
        table.name,
        table.facts["model"]["name"],
        f"{len(table):,}",
        " ".join(map(str, table.menu)) + (f"; {spec.fix}" if spec.fix else ""),
        spec.rounding,
        _span(table, 1),
        f"{plain['accuracy']:.1%}" if plain else "",
    )


def _span(table: Table, digits: int) -> str:
    return f"{table.accuracy.min():.{digits}%} to {table.accuracy.max():.{digits}%}"


def _facts(table: Table) -> dict[str, Any]:
    return {"name": table.name, "rows": len(table), "facts": dict(table.facts)}


def _tops(ceiling: Ceiling) -> list[tuple[str, str]]:
    """Each correlation, and its interval."""
    values = zip(ceiling.rho, ceiling.low, ceiling.high, strict=True)
    return [(f"{rho:.3f}", span(low, high)) for rho, low, high in values]


def _own_bits(info: Info) -> Iterator[tuple[str, str]]:
    for name, rho in sorted(info.own_bits.items(), key=lambda pair: -abs(pair[1])):
        yield name, f"{rho:.3f}"
