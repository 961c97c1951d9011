"""`emqlang experiment`."""

from __future__ import annotations

from pathlib import Path

import click

from emqlang.cli.base import declare
from emqlang.cli.options import POSITIVE, Words, as_json, experiment_names, table_names, workers
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
    "--only", multiple=True, metavar="VARIANT", help="This variant alone; repeat it for several."
)
@click.option(
    "--table",
    "tables",
    type=Words("table", table_names),
    multiple=True,
    help="What judges.  [default: resnet18-fmnist-all]",
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
    help="The trials.  [default: experiments/NAME]",
)
@click.option(
    "--plot",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A picture: SVG or PNG.",
)
@workers
@as_json
def command(
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
    """Do one of the paper's experiments, or of ours; without a name, list them.

    Every trial is kept as soon as it is done: the same command goes on where it was stopped.
    """
    from emqlang.experiments import study
    from emqlang.quant.tables.shelf import DEFAULT
    from emqlang.tasks.workers import Workers
    from emqlang.views import experiment as report
    from emqlang.views import plots
    from emqlang.views.evolve import Judged

    if not name:
        return report.listing()
    if plot is not None:
        plots.check(plot)
    plan = study.Plan.of(
        name, seeds, size, Judged(tables or (DEFAULT,), stat_images=stat_images), only
    )
    with render.progress() as progress:
        found = study.conduct(
            plan, out or Path("experiments") / name, Workers(workers, backend), progress
        )
    (report.as_json if as_json else report.screen)(found)
    if plot is not None:
        plots.panels(found, plot)
