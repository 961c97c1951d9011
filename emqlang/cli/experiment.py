"""`emqlang experiment`."""

from __future__ import annotations

from pathlib import Path

import click

from emqlang.cli.base import declare
from emqlang.cli.options import (
    POSITIVE,
    Words,
    as_json,
    experiment_names,
    layout,
    table_names,
    workers,
)
from emqlang.views import render


@declare(
    "experiment",
    "emqlang experiment",
    "emqlang experiment table3 --workers 2 --plot table3.svg",
    "emqlang experiment figure4 --seeds 3 --size 500",
)
@click.argument("name", metavar="[NAME]", type=Words("name", experiment_names), default="")
@click.option(
    "--seeds", type=POSITIVE, help="Repetitions of each variant.  [default: the experiment's own]"
)
@click.option(
    "--size",
    type=POSITIVE,
    help="Draws, evaluations or rows of one trial.  [default: the experiment's own]",
)
@click.option(
    "--only", multiple=True, metavar="VARIANT", help="Only this variant; repeat it for several."
)
@click.option(
    "--table",
    "tables",
    type=Words("table", table_names),
    multiple=True,
    help="Table that fitness is measured on; repeat it to combine several.  [default: resnet18-fmnist-all]",
)
@click.option(
    "--stat-images",
    type=POSITIVE,
    default=256,
    show_default=True,
    help="Images that statistics are taken on.",
)
@click.option(
    "--out",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the trials.  [default: experiments/NAME]",
)
@click.option(
    "--plot",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Plot of the results: SVG or PNG.",
)
@workers
@as_json
@click.pass_context
def command(
    ctx: click.Context,
    /,
    name: str,
    seeds: int | None,
    size: int | None,
    only: tuple[str, ...],
    tables: tuple[str, ...],
    stat_images: int,
    out: Path | None,
    plot: Path | None,
    workers: int,
    backend: str,
    as_json: bool,
) -> None:
    """Run one of the paper's experiments, or of ours; without a name, list them.

    Every trial is kept as soon as it is finished: the same command resumes where it was stopped.
    """
    from emqlang.evolve.settings import EvaluationOptions
    from emqlang.experiments.study import StudyPlan, conduct
    from emqlang.quant.tables.shelf import DEFAULT
    from emqlang.tasks.workers import Workers
    from emqlang.views import experiment as view
    from emqlang.views import plots

    if not name:
        return view.listing()
    if plot is not None:
        plots.check(plot)
    options = EvaluationOptions(tables or (DEFAULT,), stat_images=stat_images)
    plan = StudyPlan.of(name, seeds, size, options, only)
    folder = out or Path("experiments") / name
    with render.progress() as progress:
        study = conduct(plan, folder, Workers(workers, backend), progress)
    view.FORMATS[layout(ctx, as_json)](study)
    if plot is not None:
        plots.panels(study, plot)
