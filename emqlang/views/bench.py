"""Benchmark tables as screens, as JSON and as data cards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.tables.build import Built, agreement
from emqlang.quant.tables.exchange import IMPORTED
from emqlang.quant.tables.table import Table, known
from emqlang.tasks.truth import Ceiling, own_correlation
from emqlang.views import render
from emqlang.views.rank import TOPS, span
from emqlang.views.render import Column

SCHEMA = "emqlang.bench"


def built_screen(path: Path, built: Built) -> None:
    """What a build did."""
    speed = f", {built.rows / built.seconds:.2f} rows a second" if built.rows else ""
    now = (
        f", of which {built.rows:,} measured now in {render.duration(built.seconds)}{speed}"
        if built.rows
        else ", as before"
    )
    render.fields([
        ("table", str(path)),
        ("rows", f"{built.before + built.rows:,}{now}"),
        ("prefixes", f"{built.saved:.1%} of the work was shared with other rows and not done again"),
    ])  # fmt: skip


def built_json(path: Path, built: Built) -> None:
    render.json_object({"schema": f"{SCHEMA}.build/1", "table": str(path), **asdict(built)})


def list_screen(tables: Iterable[Table]) -> None:
    """A line for each table."""
    columns = [Column("table", style="bold"), Column("network"), Column("rows", "right"), Column("menu"), Column("rounding"),
               Column("accuracy", "right"), Column("float", "right")]  # fmt: skip
    render.table(columns, [_line(table) for table in tables])


def list_json(tables: Iterable[Table]) -> None:
    render.json_object(
        {"schema": f"{SCHEMA}.list/1", "tables": [_facts(table) for table in tables]}
    )


def rows_screen(table: Table, best: int) -> None:
    """The best rows."""
    columns = [Column("row", "right", "dim"), Column("accuracy", "right"), Column("loss", "right"), Column("MiB", "right"),
               Column("GBOPs", "right"), Column("", style="dim"), Column("bits of the groups", folds=True)]  # fmt: skip
    rows = [
        (str(table.ids[i]), f"{table.accuracy[i]:.2%}", _number(table.loss[i], "{:.4f}"), f"{table.size[i] / 2**20:.4f}",
         f"{table.bops[i] / 1e9:.4f}", "" if table.search[i] else "held out", table.config(i))
        for i in np.argsort(-table.accuracy, kind="stable")[:best]
    ]  # fmt: skip
    render.table(columns, rows)
    if best < len(table):
        render.note(
            f"the best {best:,} of {len(table):,} rows; --rows shows more, and `emqlang bench export` writes all"
        )


def rows_json(table: Table, best: int) -> None:
    order = np.argsort(-table.accuracy, kind="stable")[:best]
    rows = [
        {
            "row": int(table.ids[i]), "config": table.config(i), "search": bool(table.search[i]),
            "accuracy": float(table.accuracy[i]), "loss": known(table.loss[i]), "agreement": known(table.agreement[i]),
            "size": int(table.size[i]), "bops": int(table.bops[i]),
        }
        for i in order
    ]  # fmt: skip
    render.json_object(
        {"schema": f"{SCHEMA}.show/1", "table": table.name, "groups": table.groups, "rows": rows}
    )


def info_screen(table: Table, found: Sequence[Ceiling]) -> None:
    """What a table is, its ceilings, and how much each layer's own bits decide."""
    render.fields(_about(table))
    render.text()
    columns = [Column("ceiling", style="bold"), *(Column(top, "right") for top in TOPS), Column("rows", "right"),
               Column("what it is", folds=True)]  # fmt: skip
    render.table(columns, [(c.name, *_tops(c), str(c.rows), c.what) for c in found])
    render.text()
    render.table(
        [Column("its own bits", style="bold"), Column("Spearman", "right")], list(_own_bits(table))
    )


def info_json(table: Table, found: Sequence[Ceiling]) -> None:
    own = dict(zip(table.groups, own_correlation(table).tolist(), strict=True))
    render.json_object({
        "schema": f"{SCHEMA}.info/1",
        **_facts(table),
        "ceilings": [ceiling.as_dict() for ceiling in found],
        "own_bits": own,
    })  # fmt: skip


def verdicts(found: Mapping[str, EmqError | Table], as_json: bool) -> None:
    """One line for each table that was checked; what is wrong with a bad one goes to stderr."""
    if as_json:
        tables = {
            name: {
                "errors": [] if isinstance(one, Table) else [d.as_dict() for d in one.diagnostics]
            }
            for name, one in found.items()
        }
        return render.json_object({"schema": f"{SCHEMA}.validate/1", "tables": tables})
    for name, one in found.items():
        if isinstance(one, Table):
            render.text(f"{name}: {len(one):,} rows, whole and unedited")
        else:
            render.diagnostics(one.diagnostics)


def card(table: Table, found: Sequence[Ceiling]) -> str:
    """The data card, as Markdown."""
    lines = [f"# {table.name}", ""]
    lines += [f"- **{name}**: {value}" for name, value in _about(table) if value]
    if checked := _sequential(table):
        lines.append(f"- **composition**: {checked}")
    lines += [
        "",
        "## Ceilings",
        "",
        f"| | {' | '.join(TOPS)} | rows | what it is |",
        "|---|" + "---:|" * (len(TOPS) + 1) + "---|",
    ]
    lines += [f"| {c.name} | {' | '.join(_tops(c))} | {c.rows} | {c.what} |" for c in found]
    lines += [
        "",
        "## Spearman of each layer's own bits with the accuracy",
        "",
        "| layer | |",
        "|---|---:|",
    ]
    lines += [f"| {name} | {value} |" for name, value in _own_bits(table)]
    return "\n".join(lines) + "\n"


def _about(table: Table) -> list[tuple[str, str]]:
    facts, spec = table.facts, table.spec
    model, plain, machine = facts["model"], facts.get("float"), facts["machine"]
    return [
        ("network", f"{model['name']}, weights {model['weights']} (sha256 {model['weights_sha256']})"),
        ("rows", f"{len(table):,} distinct configurations of {len(table.groups)} groups, seed {spec.seed}; "
                 f"{int(table.search.sum()):,} may be searched on, {int((~table.search).sum()):,} are held out"),
        ("menu", " ".join(map(str, table.menu)) + (f"; fixed: {spec.fix}" if spec.fix else "")),
        ("quantization", _method(table)),
        ("calibration", facts.get("calibration", {}).get("source", "")),
        ("test", facts.get("test", {}).get("source", "")),
        ("accuracy", f"{table.accuracy.min():.2%} to {table.accuracy.max():.2%}, median {np.median(table.accuracy):.2%}"
                     + (f"; float {plain['accuracy']:.2%}" if plain else "")),
        ("built by", facts["command"]),
        ("built with", f"{', '.join(map(' '.join, facts['versions'].items()))}; {machine['processor']}, {machine['kernels']}"),
        ("licence", facts.get("licence", "")),
    ]  # fmt: skip


def _method(table: Table) -> str:
    spec = table.spec
    if spec.rounding == IMPORTED:
        return f"not known: imported from {table.facts.get('source', 'a file')}"
    parts = [
        f"{spec.rounding} rounding",
        f"{spec.iterations:,} iterations a unit" if spec.rounding != "nearest" else "",
        "composed of units learned once for each combination" if spec.composed else "",
        f"activations at {spec.act_bits} bits",
        f"ranges by {spec.range}",
        f"{spec.calib_images:,} calibration images",
    ]
    return ", ".join(filter(None, parts))


def _sequential(table: Table) -> str:
    """How composed rows compare with rows that were learned from their beginnings."""
    for rerun in table.reruns:
        if table.spec.composed and "composed" in rerun.changed:
            rho, moved = agreement(table.accuracy[rerun.rows].tolist(), rerun.accuracy.tolist())
            return f"on {len(rerun.rows)} rows learned in sequence too Spearman {rho:.3f}; sequence: {100 * moved:+.2f} points"
    return ""


def _line(table: Table) -> tuple[str, ...]:
    plain = table.facts.get("float")
    menu = " ".join(map(str, table.menu)) + (f"; {table.spec.fix}" if table.spec.fix else "")
    return (
        table.name, table.facts["model"]["name"], f"{len(table):,}", menu, table.spec.rounding,
        f"{table.accuracy.min():.1%} to {table.accuracy.max():.1%}", f"{plain['accuracy']:.1%}" if plain else "",
    )  # fmt: skip


def _facts(table: Table) -> dict[str, Any]:
    return {"name": table.name, "rows": len(table), "facts": dict(table.facts)}


def _tops(ceiling: Ceiling) -> list[str]:
    return [
        f"{rho:.3f} {span(low, high)}"
        for rho, low, high in zip(ceiling.rho, ceiling.low, ceiling.high, strict=True)
    ]


def _own_bits(table: Table) -> Iterator[tuple[str, str]]:
    pairs = zip(table.groups, own_correlation(table).tolist(), strict=True)
    yield from ((name, f"{rho:.3f}") for name, rho in sorted(pairs, key=lambda pair: -abs(pair[1])))


def _number(value: float, form: str) -> str:
    return "" if np.isnan(value) else form.format(value)
