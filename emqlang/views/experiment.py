"""A study as a screen or as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from emqlang.experiments.catalogue import EXPERIMENTS, Figure
from emqlang.experiments.study import Study, StudyPlan
from emqlang.views import render
from emqlang.views.render import Column, View

SCHEMA = "emqlang.experiment/1"
NOT_RUN = "not run"


def listing() -> None:
    """The experiments that there are."""
    rows = [
        (
            name,
            one.question,
            f"{len(one.variants) - len(one.once)} x {one.seeds} x {one.size:,} {one.unit}",
        )
        for name, one in EXPERIMENTS.items()
    ]
    columns = [
        Column("experiment", style="bold"),
        Column("what it asks", folds=True),
        Column("variants x seeds x size"),
    ]
    render.table(columns, rows)


def screen(study: Study) -> None:
    render.heading(study.plan.experiment.question, _setting(study.plan))
    render.text()
    first, *others = _headings(study)
    columns = [Column(first, style="bold"), *(Column(title, "right") for title in others)]
    render.table(columns, _rows(study))


def record(study: Study) -> dict[str, Any]:
    """The object of `experiment --json`."""
    results = [
        {"variant": variant, "seed": seed, **result.as_dict()}
        for variant, by_seed in study.results.items()
        for seed, result in by_seed.items()
    ]
    return {"schema": SCHEMA, **study.plan.facts(), "results": results}


VIEWS: Final = {Study: View(screen, record)}


def _setting(plan: StudyPlan) -> str:
    """What the figures were measured on."""
    size = f"{plan.size:,} {plan.experiment.unit} per trial"
    seeds = f"mean ± deviation over {plan.seeds} seeds" if plan.seeds > 1 else "one seed"
    tables, options = plan.experiment.tables or ", ".join(plan.options.tables), plan.options
    labels = f" x {options.label_draws} labels" if options.label_draws else ""
    images = f"; {options.stat_images} images{labels}" if plan.experiment.images else ""
    return f"{size}, {seeds}; {tables}{images}"


def _shown(study: Study) -> list[Figure]:
    """The figures that some trial has."""
    return [
        figure
        for figure in study.plan.experiment.figures
        if any(study.figure(variant, figure.name) for variant in study.results)
    ]


def _headings(study: Study) -> list[str]:
    headings = ["variant"]
    for figure in _shown(study):
        headings += [figure.title, "paper"] if figure.paper else [figure.title]
    return headings


def _rows(study: Study) -> Iterator[list[str]]:
    for variant in study.plan.experiment.variants:
        if variant not in study.results:
            yield [variant, NOT_RUN, *([""] * (len(_headings(study)) - 2))]
            continue
        cells = [variant]
        for figure in _shown(study):
            cells.append(_cell(study, variant, figure))
            if figure.paper:
                value = figure.paper.get(variant)
                cells.append("" if value is None else figure.form.format(value))
        yield cells


def _cell(study: Study, variant: str, figure: Figure) -> str:
    values = study.figure(variant, figure.name)
    if values is None:
        return ""
    mean, deviation = (figure.form.format(value) for value in values)
    return f"{mean} ± {deviation}" if len(study.results[variant]) > 1 else mean
