"""Choices for layers whose scores were measured elsewhere: one for each, or a front."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from msgspec import to_builtins

from emqlang.quant.bits.solver import Assignment
from emqlang.tasks.measured import MeasuredBits, MeasuredFront, MeasuredProblem
from emqlang.views import render
from emqlang.views.render import Column, Csv, View


def bits_screen(bits: MeasuredBits) -> None:
    problem, best = bits.problem, bits.assignment
    proven = "proven optimal"
    if best.status != "optimal":
        proven = f"{best.status}, at most {best.gap:.3g} from the best"
    render.fields(
        [
            *_shape(problem),
            *_amounts(problem, best),
            ("score", f"{best.score:.6g}, {proven}, {best.seconds * 1e3:.1f} ms"),
            ("uniform", _beside(bits)),
        ]
    )
    render.text()
    columns = [
        Column("group", style="bold", folds=True),
        Column("with", style="dim", folds=True, optional=True),
        Column("choice"),
        Column("bits", "right"),
        Column("weights", "right", "dim", optional=True),
    ]
    render.table(columns, _rows(problem, best))


def bits_record(bits: MeasuredBits) -> dict[str, Any]:
    return {**to_builtins(bits.recipe), "seconds": bits.assignment.seconds}


def bits_table(bits: MeasuredBits) -> Csv:
    layers = bits.recipe.layers.items()
    rows = ((name, layer.numel, layer.choice, layer.bits) for name, layer in layers)
    return ["name", "numel", "choice", "bits"], rows


def front_screen(front: MeasuredFront) -> None:
    problem, per = front.problem, front.budget.per
    found = f"{len(front.points):,} undominated assignments, "
    found += "all there are" if front.complete else "of evenly spaced budgets: there are more"
    render.fields([*_shape(problem), ("front", found)])
    render.text()
    columns = [
        Column(front.budget.quantity.shown, "right"),
        Column("score", "right"),
        Column("groups with each choice", folds=True),
    ]
    costs = [f"{cost / per:.4f}" for cost, _ in front.points]
    scores = [f"{point.score:.6g}" for _, point in front.points]
    counts = [_counts(problem, point) for _, point in front.points]
    render.table(columns, zip(costs, scores, counts, strict=True))


def front_record(front: MeasuredFront) -> dict[str, Any]:
    problem, over = front.problem, front.budget.quantity.name
    per = front.budget.per if over == "avg-bits" else 1
    return {
        "schema": "emqlang.measured-front/1",
        "scores": problem.measured.source,
        "over": over,
        "complete": front.complete,
        "groups": [[layer.name for layer in problem.layers(g)] for g in range(len(problem.groups))],
        "points": [
            {
                "cost": cost / per,
                "score": point.score,
                "status": point.status,
                "choices": [problem.menu[column] for column in point.choices],
            }
            for cost, point in front.points
        ],
    }


def front_table(front: MeasuredFront) -> Csv:
    problem = front.problem
    per = front.budget.per if front.budget.quantity.name == "avg-bits" else 1
    rows = (
        (cost / per, point.score, *(problem.menu[column] for column in point.choices))
        for cost, point in front.points
    )
    return ["cost", "score", *(problem.layers(g)[0].name for g in range(len(problem.groups)))], rows


VIEWS: Final = {
    MeasuredBits: View(bits_screen, bits_record, bits_table),
    MeasuredFront: View(front_screen, front_record, front_table),
}


def _shape(problem: MeasuredProblem) -> Iterator[tuple[str, str]]:
    yield "scores", problem.measured.source
    layers, groups = len(problem.measured.layers), len(problem.groups)
    tied = f" in {groups:,} groups" if groups < layers else ""
    held = f", {len(problem.fixed)} of them fixed" if problem.fixed else ""
    yield "layers", f"{layers:,}{tied}{held}"
    yield "choices", ", ".join(problem.menu)


def _amounts(problem: MeasuredProblem, assignment: Assignment) -> Iterator[tuple[str, str]]:
    """Each quantity with what was achieved and, where it is limited, the limit."""
    limited = {budget.quantity.name: budget for budget in problem.budgets}
    for name, measure in problem.measures.items():
        budget = limited.get(name, measure)
        limit = f" of {budget.show(budget.limit)}" if name in limited else ""
        yield name, budget.show(budget.cost(assignment.choices)) + limit


def _beside(bits: MeasuredBits) -> str:
    """What one choice for all scores and costs within the same budgets."""
    if bits.uniform is None:
        return "no single choice for all groups meets the budget"
    choice, assignment = bits.uniform
    costs = ", ".join(text.split(" of ")[0] for _, text in _amounts(bits.problem, assignment))
    return f"{choice}: score {assignment.score:.6g}; {costs}"


def _rows(problem: MeasuredProblem, assignment: Assignment) -> Iterator[list[str]]:
    for g, column in enumerate(assignment.choices):
        first, *others = layers = problem.layers(g)
        numel = sum(layer.numel for layer in layers)
        choice = problem.menu[column]
        bits = float(sum(layer.numel * layer.choices[choice].bits for layer in layers) / numel)
        tied = ", ".join(layer.name for layer in others)
        yield [first.name, tied, choice, f"{bits:g}", f"{numel:,}"]


def _counts(problem: MeasuredProblem, assignment: Assignment) -> str:
    """How many groups have each choice: '3 x Q4_K, 2 x Q6_K'."""
    counts = [(assignment.choices.count(column), name) for column, name in enumerate(problem.menu)]
    return ", ".join(f"{count} x {name}" for count, name in counts if count)
