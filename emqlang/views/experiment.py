"""A study as a screen, as JSON, and as the Markdown that its folder keeps."""

from __future__ import annotations

from collections.abc import Iterator

from emqlang.experiments.catalogue import EXPERIMENTS, Figure
from emqlang.experiments.study import Study
from emqlang.views import render
from emqlang.views.render import Column

SCHEMA = "emqlang.experiment/1"


def listing() -> None:
    """The experiments that there are."""
    rows = [
        (name, e.question, f"{len(e.variants)} x {e.seeds} x {e.size:,} {e.unit}")
        for name, e in EXPERIMENTS.items()
    ]
    render.table(
        [
            Column("experiment", style="bold"),
            Column("what it asks", folds=True),
            Column("variants x seeds x size"),
        ],
        rows,
    )


def screen(study: Study) -> None:
    render.heading(study.plan.experiment.question, _told(study))
    render.text()
    first, *others = _headings(study)
    render.table(
        [Column(first, style="bold"), *(Column(title, "right") for title in others)], _rows(study)
    )


def as_json(study: Study) -> None:
    render.json_object({
        "schema": SCHEMA,
        **study.plan.facts(),
        "results": [
            {"variant": variant, "seed": seed, **result.as_dict()}
            for variant, own in study.results.items()
            for seed, result in own.items()
        ],
    })  # fmt: skip


def markdown(study: Study) -> str:
    """The question, the table, and what it was measured on."""
    headings = _headings(study)
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *_rows(study)]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"{study.plan.experiment.question}\n\n{table}\n\n{_told(study)}\n"


def _told(study: Study) -> str:
    plan = study.plan
    seeds = f"mean ± deviation over {plan.seeds} seeds" if plan.seeds > 1 else "one seed"
    return (
        f"{plan.size:,} {plan.experiment.unit} a trial, {seeds}; {', '.join(plan.judged.tables)}, "
        f"{plan.judged.stat_images} images"
    )


def _shown(study: Study) -> list[tuple[Figure, bool]]:
    """The figures that some trial has; whether the paper has them, too."""
    return [
        (figure, bool(figure.paper))
        for figure in study.plan.experiment.figures
        if any(study.figure(variant, figure.name) for variant in study.plan.variants)
    ]


def _headings(study: Study) -> list[str]:
    return [
        "variant",
        *(title for figure, told in _shown(study) for title in ([figure.title] + ["paper"] * told)),
    ]


def _rows(study: Study) -> Iterator[list[str]]:
    for variant in study.plan.variants:
        cells = [variant]
        for figure, told in _shown(study):
            cells.append(_cell(study, variant, figure))
            if told:
                cells.append(
                    figure.form.format(figure.paper[variant]) if variant in figure.paper else ""
                )
        yield cells


def _cell(study: Study, variant: str, figure: Figure) -> str:
    found = study.figure(variant, figure.name)
    if found is None:
        return ""
    mean, deviation = (figure.form.format(value) for value in found)
    return f"{mean} ± {deviation}" if study.plan.seeds > 1 else mean
