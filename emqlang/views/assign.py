"""Chosen bits as a screen, as JSON, or as CSV: one assignment, a whole front, or a walk along it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from emqlang.grammar.program import Program
from emqlang.quant.bits.solver import Assignment
from emqlang.tasks.assign import Bits, Sweep, Walked, proxy_of
from emqlang.tasks.problem import Front, Problem
from emqlang.tasks.walk import Tried
from emqlang.views import eval as report
from emqlang.views import render
from emqlang.views.render import Column

SCHEMAS = {Bits: "emqlang.assign/1", Sweep: "emqlang.front/1", Walked: "emqlang.walk/1"}


def _bits_screen(bits: Bits) -> None:
    problem, found = bits.problem, bits.found
    report.network(problem.network, bits.data)
    render.fields([
        ("proxy", bits.program.text if bits.program else "none: the bits are given"),
        *_amounts(problem, found),
        ("score", f"{found.score:.6g}, {_status(found)}, {found.seconds * 1e3:.1f} ms" if bits.program else ""),
    ])  # fmt: skip
    render.text()
    columns = [
        Column("group", style="bold"),
        Column("with", style="dim", folds=True),
        Column("choice"),
        Column("weights", "right", "dim"),
    ]
    render.table(columns, [(*row[:3], f"{row[3]:,}") for row in _rows(problem, found)])


def _bits_json(bits: Bits) -> None:
    record = {"proxy": _proxy(bits.program), **_assignment(bits.problem, bits.found)}
    render.json_object({"schema": SCHEMAS[Bits], **record})


def _bits_csv(bits: Bits) -> None:
    render.csv_rows(["group", "tied", "choice", "weights"], _rows(bits.problem, bits.found))


def _sweep_screen(swept: Sweep) -> None:
    report.network(swept.problem.network, swept.data)
    points = swept.front.points
    render.fields(
        [("proxy", swept.program.text), ("front", f"{len(points):,} undominated assignments")]
    )
    render.text()
    columns = [
        Column(_unit(swept.front), "right"),
        Column("score", "right"),
        Column("bits of the groups", folds=True),
    ]
    rows = zip(
        _costs(swept.front), report.numbers(point.score for _, point in points), points, strict=True
    )
    render.table(
        columns, [(cost, score, _listed(swept.problem, point)) for cost, score, (_, point) in rows]
    )


def _sweep_json(swept: Sweep) -> None:
    problem = swept.problem
    render.json_object({
        "schema": SCHEMAS[Sweep],
        "proxy": _proxy(swept.program),
        "over": swept.front.budget.quantity.name,
        "groups": [group.name for group in problem.network.collection.groups],
        "points": [
            {"cost": cost, "score": point.score, "choices": _choices(problem, point)} for cost, point in swept.front.points
        ],
    })  # fmt: skip


def _sweep_csv(swept: Sweep) -> None:
    rows = (
        (cost, point.score, _listed(swept.problem, point)) for cost, point in swept.front.points
    )
    render.csv_rows(["cost", "score", "choices"], rows)


def _walk_screen(done: Walked) -> None:
    """Every point that was tried, cheapest first, and what was chosen."""
    columns = [
        Column(_unit(done.front), "right"),
        Column("score", "right"),
        Column("lost", "right"),
        Column(""),
    ]
    ordered = sorted(done.walk.tried, key=lambda tried: tried.cost)
    scores = report.numbers(tried.assignment.score for tried in ordered)
    per = done.front.budget.per
    rows = [
        (f"{tried.cost / per:.4f}", score, f"{tried.drop:.2%}", _mark(tried, done))
        for tried, score in zip(ordered, scores, strict=True)
    ]
    if done.bits is not None:
        _bits_screen(done.bits)
        render.text()
    render.heading(f"at most {done.most:.2%} may be lost", f"tried on {done.validation}")
    render.text()
    render.table(columns, rows)
    render.text()
    if done.final is None:
        render.heading("even the dearest bits lose more")
    else:
        measure, value = (
            ("accuracy", done.final.accuracy)
            if done.final.accuracy is not None
            else ("agreement", done.final.agreement)
        )
        render.heading(f"{measure} {value:.2%}", f"on {done.reported}")


def _walk_json(done: Walked) -> None:
    problem = None if done.bits is None else done.bits.problem
    render.json_object({
        "schema": SCHEMAS[Walked],
        "max_drop": done.most,
        "validation": done.validation,
        "tried": [
            {"cost": tried.cost, "score": tried.assignment.score, "drop": tried.drop, "enough": tried.enough}
            for tried in done.walk.tried
        ],
        "best": problem and done.bits and {"proxy": _proxy(done.bits.program), **_assignment(problem, done.bits.found)},
        "final": done.final and {"data": done.reported, "accuracy": done.final.accuracy, "agreement": done.final.agreement},
    })  # fmt: skip


def _walk_csv(done: Walked) -> None:
    rows = (
        (tried.cost, tried.assignment.score, tried.drop, tried.enough) for tried in done.walk.tried
    )
    render.csv_rows(["cost", "score", "drop", "enough"], rows)


Show = Callable[[Any], None]
FORMATS: Mapping[type, Mapping[str, Show]] = MappingProxyType({
    Bits: {"screen": _bits_screen, "json": _bits_json, "csv": _bits_csv},
    Sweep: {"screen": _sweep_screen, "json": _sweep_json, "csv": _sweep_csv},
    Walked: {"screen": _walk_screen, "json": _walk_json, "csv": _walk_csv},
})  # fmt: skip


def _unit(front: Front) -> str:
    return front.budget.quantity.shown


def _costs(front: Front) -> list[str]:
    return [f"{cost / front.budget.per:.4f}" for cost, _ in front.points]


def _mark(tried: Tried, done: Walked) -> str:
    return "chosen" if tried is done.walk.best else "good enough" if tried.enough else "too much"


def _status(found: Assignment) -> str:
    return (
        "proven optimal"
        if found.status == "optimal"
        else f"{found.status}, at most {found.gap:.3g} from the best"
    )


def _amounts(problem: Problem, found: Assignment) -> Iterator[tuple[str, str]]:
    """Each quantity with what was achieved and, where it is limited, the limit."""
    limits = {budget.quantity.name: budget for budget in problem.budgets}
    for name, budget in {
        budget.quantity.name: budget for budget in (*problem.measures(), *problem.budgets)
    }.items():
        limit = f" of {limits[name].show(limits[name].limit)}" if name in limits else ""
        yield (
            name,
            budget.show(budget.cost(found.choices))
            + limit
            + (" (an estimate)" if name == "latency" else ""),
        )


def _rows(problem: Problem, found: Assignment) -> Iterator[tuple[str, str, str, int]]:
    """Of each group: its name, the layers tied to it, its choice, its weights."""
    layers = problem.network.collection.layers
    for group, choice in zip(problem.network.collection.groups, found.choices, strict=True):
        others = ", ".join(layers[i].name for i in group.layers if i != group.main)
        yield (
            group.name,
            others,
            str(problem.menu[choice]),
            sum(layers[i].numel for i in group.layers),
        )


def _choices(problem: Problem, found: Assignment) -> list[str]:
    return [str(problem.menu[choice]) for choice in found.choices]


def _listed(problem: Problem, found: Assignment) -> str:
    """As `--config` takes it: 4,4,2,..."""
    return ",".join(
        choice.removeprefix("W") if "A" not in choice else choice
        for choice in _choices(problem, found)
    )


def _proxy(program: Program | None) -> dict[str, str] | None:
    if program is None:
        return None
    proxy = proxy_of(program)
    return {"text": program.text, "elaborated": proxy.text, "key": proxy.key}


def _assignment(problem: Problem, found: Assignment) -> dict[str, Any]:
    net = problem.network
    layers = net.collection.layers
    return {
        "model": {"name": net.name, "weights": net.weights, "weights_sha256": net.weights_sha256},
        "accounting": problem.wish.accounting,
        "budgets": {budget.quantity.name: budget.limit for budget in problem.budgets},
        "achieved": problem.achieved(found.choices),
        "score": found.score,
        "status": found.status,
        "gap": found.gap if found.gap < float("inf") else None,
        "seconds": found.seconds,
        "groups": [
            {"name": group.name, "layers": [layers[i].name for i in group.layers], "choice": choice}
            for group, choice in zip(net.collection.groups, _choices(problem, found), strict=True)
        ],
    }
