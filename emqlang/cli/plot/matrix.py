"""`emqlang plot matrix`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from emqlang.cli.base import cached, declare
from emqlang.cli.options import calib_images, network, pick, picture
from emqlang.cli.rounding import statistics_rounding
from emqlang.cli.uses import check_statistics
from emqlang.cli.words import Expression
from emqlang.grammar import library
from emqlang.views import render, ticker


@declare(
    "matrix",
    "emqlang plot matrix --model resnet18-fmnist --bits 2 --out matrix.svg",
    "emqlang plot matrix fisher_length --bits 2,4 -o matrix.png",
    kept=cached,
)
@click.argument("word", metavar="[EXPR]", type=Expression(), required=False)
@picture
@network
@statistics_rounding
@calib_images
@click.pass_context
def command(ctx: click.Context, /, word: str | None, out: Path, **options: Any) -> None:
    """Draw how the errors of layers meet: layers by layers, a panel for each choice of bits.

    A cell is the mean over images of the product of what two layers add to a total of EXPR, scaled
    so that each layer with itself has 1: where it is positive, errors of both add up, and where it
    is negative, they cancel. EXPR does not separate; without one it is fisher_whole, which sums
    `shift`. It is a text, a library name, file.emq:name, or - for stdin.
    """
    from emqlang.tasks.plot import WHOLE, meetings
    from emqlang.tasks.workbench import Workbench, WorkbenchOptions
    from emqlang.views.figures import canvas, matrix

    canvas.check(out)
    program = library.find_one(word or WHOLE)
    check_statistics(ctx, [program])
    render.diagnostics(program.warnings)
    with ticker.progress() as progress:
        found = meetings(Workbench(pick(WorkbenchOptions, options), progress), program)
    render.diagnostics(found.diagnostics)
    canvas.save(matrix.draw(found), out)
    render.note(f"wrote {out}")
