"""`emqlang plot scores`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from emqlang.cli.base import cached, declare
from emqlang.cli.options import calib_images, expressions, network, pick, picture
from emqlang.cli.rounding import statistics_rounding
from emqlang.cli.uses import check_statistics
from emqlang.grammar import library
from emqlang.views import render, ticker


@declare(
    "scores",
    "emqlang plot scores hawq_v2 synflow --out scores.svg",
    "emqlang plot scores fisher_length --model vgg-fmnist --bits 2,4,8 -o scores.png",
    kept=cached,
)
@expressions
@picture
@network
@statistics_rounding
@calib_images
@click.pass_context
def command(ctx: click.Context, /, words: tuple[str, ...], out: Path, **options: Any) -> None:
    """Draw what proxies say of each layer under each choice.

    Of a sum over layers these are its scores; of a program that does not separate, what the score
    loses where one layer's bits fall, alone and in company: while all others keep the most bits,
    and while they have the fewest. EXPR is a text, a library name, file.emq:name, or - for stdin.
    """
    if not words:
        ctx.fail("give an EXPR: `emqlang library` lists some")
    from emqlang.tasks.plot import layer_scores
    from emqlang.tasks.workbench import Workbench, WorkbenchOptions
    from emqlang.views.figures import canvas, scores

    canvas.check(out)
    programs = library.find_all(words)
    check_statistics(ctx, programs)
    render.diagnostics(warning for program in programs for warning in program.warnings)
    with ticker.progress() as progress:
        found = layer_scores(Workbench(pick(WorkbenchOptions, options), progress), programs)
    render.diagnostics(found.diagnostics)
    canvas.save(scores.draw(found.network, found.scores), out)
    render.note(f"wrote {out}")
