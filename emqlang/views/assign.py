"""Chosen bits: one assignment, a whole front, or a walk along it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Final

from emqlang.grammar.program import Program
from emqlang.grammar.text.printer import show
from emqlang.quant.bits.configuration import configuration_text
from emqlang.quant.bits.search import FOUND
from emqlang.quant.bits.solver import Assignment
from emqlang.quant.ptq.margin import CONFIDENCE
from emqlang.tasks.assign import Bits, Outcome, Sweep, Trial, Walk
from emqlang.tasks.polish import Polish
from emqlang.tasks.problem import POLISHED, Front, Problem, Uniform, proxy_of
from emqlang.views import eval as evaluation
from emqlang.views import render
from emqlang.views.render import Column, Csv, View


def bits_screen(bits: Bits) -> None:
    problem, assignment = bits.problem, bits.assignment
    evaluation.network(problem.network, bits.data)
    score = f"{assignment.score:.6g}, {_status(assignment)}, {assignment.seconds * 1e3:.1f} ms"
    render.fields(
        [
            ("proxy", _named(bits.program) if bits.program else "none: the bits are given"),
            *_amounts(problem, assignment),
            ("score", score if bits.program else ""),
            ("polish", "" if bits.polish is None else _gained(bits.polish)),
            ("uniform", _beside(bits) if bits.program else ""),
            ("held", ", ".join(problem.held)),
        ]
    )
    render.text()
    columns = [
        Column("group", style="bold"),
        Column("with", style="dim", folds=True),
        Column("choice"),
        Column("weights", "right", "dim"),
    ]
    rows = [(*row[:3], f"{row[3]:,}") for row in _rows(problem, assignment)]
    render.table(columns, rows)


def bits_record(bits: Bits) -> dict[str, Any]:
    return {"schema": "emqlang.assign/1", **_bits_record(bits)}


def bits_table(bits: Bits) -> Csv:
    return ["group", "tied", "choice", "weights"], _rows(bits.problem, bits.assignment)


def sweep_screen(sweep: Sweep) -> None:
    evaluation.network(sweep.problem.network, sweep.data)
    points = sweep.front.points
    front = f"{len(points):,} undominated assignments"
    if not sweep.complete:
        front = f"{front}, the best found: not proven"
    render.fields([("proxy", _named(sweep.program)), ("front", front)])
    render.text()
    columns = [
        Column(_unit(sweep.front), "right"),
        Column("score", "right"),
        Column("bits of the groups", folds=True),
    ]
    costs = [f"{cost / sweep.front.budget.per:.4f}" for cost, _ in points]
    scores = evaluation.numbers(point.score for _, point in points)
    configs = [_config(sweep.problem, point) for _, point in points]
    render.table(columns, zip(costs, scores, configs, strict=True))
    if not sweep.uniform:
        return
    render.text()
    render.heading("uniform bits beside them")
    render.text()
    rows = [(f"{cost / sweep.front.budget.per:.4f}", beside) for cost, beside in sweep.uniform]
    scores = evaluation.numbers(beside.assignment.score for _, beside in rows)
    columns = [Column("choice", style="bold"), *columns[:2]]
    render.table(columns, [(str(b.choice), c, s) for (c, b), s in zip(rows, scores, strict=True)])


def sweep_record(sweep: Sweep) -> dict[str, Any]:
    problem = sweep.problem
    return {
        "schema": "emqlang.front/1",
        "proxy": _proxy_record(sweep.program),
        "over": sweep.front.budget.quantity.name,
        "held": dict(problem.held),
        "groups": [group.name for group in problem.network.collection.groups],
        "points": [
            {"cost": cost, "score": point.score, "choices": _choices(problem, point)}
            for cost, point in sweep.front.points
        ],
        "status": "optimal" if sweep.complete else FOUND,
        "uniform": [
            {"choice": str(beside.choice), "cost": cost, "score": beside.assignment.score}
            for cost, beside in sweep.uniform
        ],
    }


def sweep_table(sweep: Sweep) -> Csv:
    points = sweep.front.points
    rows = ((cost, point.score, _config(sweep.problem, point)) for cost, point in points)
    return ["cost", "score", "choices"], rows


def walk_screen(walk: Walk) -> None:
    """Every point that was tried, cheapest first, and what was chosen."""
    if walk.bits is not None:
        bits_screen(walk.bits)
        render.text()
    told = f"tried on {walk.images[0]:,} images: {walk.validation}"
    render.heading(f"at most {walk.max_drop:.2%} may be lost", told)
    render.text()
    columns = [
        Column(_unit(walk.front), "right"),
        Column("score", "right"),
        Column("lost", "right"),
        Column("at most", "right"),
        Column(""),
    ]
    trials = sorted(walk.trials, key=lambda trial: trial.cost)
    scores = evaluation.numbers(trial.assignment.score for trial in trials)
    costs = [f"{trial.cost / walk.front.budget.per:.4f}" for trial in trials]
    rows = [
        (cost, score, f"{trial.drop:.2%}", f"{trial.at_most:.2%}", _mark(trial, walk))
        for cost, score, trial in zip(costs, scores, trials, strict=True)
    ]
    render.table(columns, rows)
    render.text()
    if walk.final is None:
        return render.heading("even the most expensive bits may lose more", _why_not(walk))
    quality = walk.final.quality
    verdict = "within" if quality.drop <= walk.max_drop else "more than"
    render.heading(
        f"{quality.measure} {quality.value:.2%}, float {quality.reference:.2%}: "
        f"{quality.drop:.2%} lost, {verdict} {walk.max_drop:.2%}",
        f"on {walk.images[1]:,} other images: {walk.reported}",
    )


def _why_not(walk: Walk) -> str:
    """Whether it is the bits that lose too much, or the images that are too few to tell."""
    (dearest,) = [trial for trial in walk.trials if trial.cost == max(t.cost for t in walk.trials)]
    if dearest.drop > walk.max_drop:
        return ""
    return f"so few images cannot tell {dearest.drop:.2%} from {dearest.at_most:.2%}: give more"


def walk_record(walk: Walk) -> dict[str, Any]:
    return {
        "schema": "emqlang.walk/1",
        "max_drop": walk.max_drop,
        "confidence": CONFIDENCE,
        "validation": walk.validation,
        "images": walk.images[0],
        "tried": [
            {
                "cost": trial.cost,
                "score": trial.assignment.score,
                "drop": trial.drop,
                "at_most": trial.at_most,
                "enough": trial.enough,
            }
            for trial in walk.trials
        ],
        "best": walk.bits and _bits_record(walk.bits),
        "final": walk.final and _final_record(walk, walk.final),
    }


def _final_record(walk: Walk, final: Outcome) -> dict[str, Any]:
    quality = final.quality
    return {
        "data": walk.reported,
        "images": walk.images[1],
        "measure": quality.measure,
        "float": quality.reference,
        "quantized": quality.value,
        "drop": quality.drop,
        "within": quality.drop <= walk.max_drop,
        "accuracy": final.evaluation.accuracy,
        "agreement": final.evaluation.agreement,
    }


def walk_table(walk: Walk) -> Csv:
    rows = ((t.cost, t.assignment.score, t.drop, t.at_most, t.enough) for t in walk.trials)
    return ["cost", "score", "drop", "at_most", "enough"], rows


VIEWS: Final = {
    Bits: View(bits_screen, bits_record, bits_table),
    Sweep: View(sweep_screen, sweep_record, sweep_table),
    Walk: View(walk_screen, walk_record, walk_table),
}


def _bits_record(bits: Bits) -> dict[str, Any]:
    problem, assignment, net = bits.problem, bits.assignment, bits.problem.network
    layers, achieved = net.collection.layers, problem.achieved(assignment.choices)
    return {
        "proxy": bits.program and _proxy_record(bits.program),
        "model": {"name": net.name, "weights": net.weights, "weights_sha256": net.weights_sha256},
        "accounting": problem.constraints.accounting,
        "budgets": {budget.quantity.name: budget.limit for budget in problem.budgets},
        "achieved": achieved,
        "avg_bits": achieved["avg-bits"] / problem.budget("avg-bits").per,
        "score": assignment.score,
        "status": assignment.status,
        "gap": assignment.gap,
        "polish": bits.polish and asdict(bits.polish),
        "uniform": bits.uniform and _uniform_record(problem, bits.uniform),
        "held": dict(problem.held),
        "seconds": assignment.seconds,
        "groups": [
            {"name": group.name, "layers": [layers[i].name for i in group.layers], "choice": choice}
            for group, choice in zip(
                net.collection.groups, _choices(problem, assignment), strict=True
            )
        ],
    }


def _uniform_record(problem: Problem, uniform: Uniform) -> dict[str, Any]:
    achieved = problem.achieved(uniform.assignment.choices)
    return {
        "choice": str(uniform.choice),
        "score": uniform.assignment.score,
        "achieved": achieved,
        "avg_bits": achieved["avg-bits"] / problem.budget("avg-bits").per,
    }


def _named(program: Program) -> str:
    """A program of a file by its name too, since its text may use names of that file."""
    return f"{program.name}: {show(program.elaborated)}" if program.name else program.text


def _proxy_record(program: Program) -> dict[str, Any]:
    proxy = proxy_of(program)
    return {
        "name": program.name or None,
        "text": program.text,
        "elaborated": proxy.text,
        "key": proxy.key,
    }


def _unit(front: Front) -> str:
    return front.budget.quantity.shown


def _mark(trial: Trial, walk: Walk) -> str:
    return "chosen" if trial is walk.chosen else "good enough" if trial.enough else "too much"


def _beside(bits: Bits) -> str:
    """What one choice for all scores and costs within the same budget."""
    if bits.uniform is None:
        return "no single choice for all groups meets the budget"
    assignment, problem = bits.uniform.assignment, bits.problem
    costs = ", ".join(text for _, text in _amounts(problem, assignment, limits=False))
    return f"{bits.uniform.choice}: score {assignment.score:.6g}; {costs}"


def _gained(polish: Polish) -> str:
    """What measured exchanges gained."""
    change = f"{polish.measure} {polish.before:.4f} to {polish.after:.4f}"
    if not polish.taken:
        change = f"{polish.measure} stays {polish.before:.4f}"
    tried = f"{polish.taken:,} of {polish.candidates:,} exchanges taken"
    return f"{change} on {polish.images:,} calibration images, {tried}"


def _status(assignment: Assignment) -> str:
    if assignment.status == "optimal":
        return "proven optimal"
    if assignment.status == FOUND:
        return "best found: not proven"
    if assignment.status == POLISHED:
        return "not the proxy's best: polished"
    return f"{assignment.status}, at most {assignment.gap:.3g} from the best"


def _amounts(
    problem: Problem, assignment: Assignment, limits: bool = True
) -> Iterator[tuple[str, str]]:
    """Each quantity with what was achieved and, where it is limited, the limit."""
    limited = {budget.quantity.name: budget for budget in problem.budgets}
    for name, cost in problem.achieved(assignment.choices).items():
        budget = limited.get(name) or problem.budget(name)
        limit = f" of {budget.show(budget.limit)}" if limits and name in limited else ""
        yield name, budget.show(cost) + limit + (" (an estimate)" if name == "latency" else "")


def _rows(problem: Problem, assignment: Assignment) -> Iterator[tuple[str, str, str, int]]:
    """Of each group: its name, the layers tied to it, its choice, its weights."""
    layers, groups = problem.network.collection.layers, problem.network.collection.groups
    for group, choice in zip(groups, _choices(problem, assignment), strict=True):
        others = ", ".join(layers[i].name for i in group.layers if i != group.main)
        yield group.name, others, choice, sum(layers[i].numel for i in group.layers)


def _choices(problem: Problem, assignment: Assignment) -> Sequence[str]:
    return list(map(str, problem.given(assignment)))


def _config(problem: Problem, assignment: Assignment) -> str:
    """As `--config` takes it: 4,4,2,..."""
    return configuration_text(problem.menu[choice] for choice in assignment.choices)
