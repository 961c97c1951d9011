"""`emqlang eval`."""

from __future__ import annotations

from typing import Any

import click

from emqlang.cli.base import declare
from emqlang.cli.options import Expression, Words, as_csv, as_json, layout, library_names, network
from emqlang.grammar import library
from emqlang.views import render


@declare(
    "eval",
    'emqlang eval "log(abs(grad_synflow)) * sqrt(mean(abs(w)))"',
    "emqlang eval --proxy synflow --proxy size --config 4,4,3,3,2,2,2,2,2,2,2,2,2,2,2,2,2,4",
    "emqlang eval bits*mean(abs(w)) --model resnet18 --weights random --json",
)
@click.argument("words", metavar="[EXPR...]", type=Expression(), nargs=-1)
@click.option(
    "--proxy",
    "proxies",
    type=Words("name", library_names),
    multiple=True,
    help="A proxy of the library; repeat it for several.",
)
@click.option(
    "--config",
    metavar="LIST",
    help="One choice a group, as 4,4,2,... or W4A8,W2A8,...: print its score.",
)
@network
@as_json
@as_csv
@click.pass_context
def command(
    ctx: click.Context,
    /,
    words: tuple[str, ...],
    proxies: tuple[str, ...],
    config: str | None,
    as_json: bool,
    as_csv: bool,
    **settings: Any,
) -> None:
    """Score proxies on a network, layer by layer.

    EXPR is a text, a library name, file.emq:name, or - for stdin.
    """
    if not words and not proxies:
        ctx.fail("give an EXPR or --proxy NAME")
    form = layout(ctx, as_json, as_csv)
    found = library.find_all(words, proxies)
    render.diagnostics(warning for program in found for warning in program.warnings)
    from emqlang.tasks.workbench import Settings, Workbench
    from emqlang.views import eval as report

    with render.progress() as progress:
        done = Workbench(Settings(**settings), progress).evaluate(found, config)
    render.diagnostics(done.diagnostics)
    report.FORMATS[form](done)
    ctx.exit(done.exit_status)
