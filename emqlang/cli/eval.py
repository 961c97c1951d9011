"""`emqlang eval`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from emqlang.cli.base import cached, declare
from emqlang.cli.options import (
    calib_images,
    expressions,
    library_proxies,
    network,
    pick,
    shown,
)
from emqlang.cli.rounding import statistics_rounding
from emqlang.cli.uses import check_statistics
from emqlang.grammar import library
from emqlang.views import render, ticker

if TYPE_CHECKING:
    from emqlang.tasks.eval import EvalResult


@declare(
    "eval",
    "emqlang eval fisher_form",
    'emqlang eval "log(abs(grad_synflow)) * sqrt(mean(abs(w)))"',
    "emqlang eval --proxy synflow --proxy size --config 4,4,3,3,2,2,2,2,2,2,2,2,2,2,2,2,2,4",
    kept=cached,
)
@expressions
@library_proxies
@click.option(
    "--config",
    metavar="LIST",
    help="One choice per group, as 4,4,2,... or W4A8,W2A8,...: print its score.",
)
@network
@statistics_rounding
@calib_images
@shown("eval", csv=True)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    words: tuple[str, ...],
    proxies: tuple[str, ...],
    config: str | None,
    **options: Any,
) -> EvalResult:
    """Score proxies on a network, layer by layer.

    EXPR is a text, a library name, file.emq:name, or - for stdin.
    """
    if not words and not proxies:
        ctx.fail("give an EXPR or --proxy NAME")
    parsed = library.find_all(words, proxies)
    check_statistics(ctx, parsed)
    render.diagnostics(warning for program in parsed for warning in program.warnings)
    from emqlang.tasks.eval import evaluate
    from emqlang.tasks.workbench import Workbench, WorkbenchOptions

    with ticker.progress() as progress:
        return evaluate(Workbench(pick(WorkbenchOptions, options), progress), parsed, config)
