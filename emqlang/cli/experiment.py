"""`emqlang experiment`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emqlang.cli.base import declare
from emqlang.cli.numbers import POSITIVE
from emqlang.cli.options import count, label_draws, pick, plot_file, shown, tables, workers
from emqlang.cli.outputs import claim
from emqlang.cli.words import Words, experiment_names
from emqlang.tasks.outputs import Output
from emqlang.views import render, ticker

if TYPE_CHECKING:
    from emqlang.experiments.study import Study

# Trials that are there are gone on with if they are the same. Others are refused, or with --force
# put aside: hours of work are not lost for a picture that is to be drawn again.
TRIALS = Output(folder=True, finished=())
OTHERS = replace(TRIALS, replaced=("experiment.json", "*/[0-9]*.json"))


def _kept(params: Mapping[str, Any]) -> str:
    """What an interruption leaves."""
    return "finished trials are kept, and the same command goes on from them"


def _estimate(trials: int, seconds: float) -> None:
    render.note(f"{trials:,} trial{'s' * (trials > 1)}, about {render.duration(seconds)}")


@declare(
    "experiment",
    "emqlang experiment",
    "emqlang experiment table3 --workers 2 --plot table3.svg",
    "emqlang experiment qat --seeds 1 --only 'resnet18-fmnist W3 A8, fisher_length'",
    "emqlang experiment transfer --label-draws 4 --only 'vgg left out' --seeds 1",
    kept=_kept,
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
@tables
@count("--stat-images", default=256, help="Images that statistics are taken on.")
@label_draws
@click.option(
    "--out",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the trials.  [default: experiments/NAME]",
)
@plot_file
@workers
@shown("experiment")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    name: str,
    seeds: int | None,
    size: int | None,
    only: tuple[str, ...],
    out: Path | None,
    plot: Path | None,
    workers: int,
    backend: str,
    **options: Any,
) -> Study:
    """Run one of the paper's experiments, or of ours; without a name, list them.

    Every trial is kept as soon as it is finished: the same command resumes where it was stopped,
    and --force replaces the picture, or the trials of another command, but not its own.
    """
    from emqlang.evolve.settings import EvaluationOptions
    from emqlang.experiments.study import StudyPlan, conduct, continues
    from emqlang.tasks.workers import Workers
    from emqlang.views import experiment
    from emqlang.views.figures import canvas
    from emqlang.views.figures import experiment as figure

    if not name:
        experiment.listing()
        ctx.exit()
    if plot is not None:
        canvas.check(plot)
    plan = StudyPlan.of(name, seeds, size, pick(EvaluationOptions, options), only)
    folder = out or Path("experiments") / name
    kind = TRIALS if continues(plan, folder) else OTHERS
    with claim(kind, folder), ticker.progress() as progress:
        study = conduct(plan, folder, Workers(workers, backend), progress, _estimate)
    if plot is not None:
        canvas.save(figure.draw(study), plot)
    return study
