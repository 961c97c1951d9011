"""`emqlang repl`."""

from __future__ import annotations

import sys
from typing import Any

import click

from emqlang.cli.base import declare
from emqlang.cli.options import calib_images, network
from emqlang.cli.rounding import statistics_rounding


@declare(
    "repl",
    "emqlang repl",
    "emqlang repl --model resnet18 --weights random",
    "echo 'mean(abs(w))' | emqlang repl",
)
@network
@statistics_rounding
@calib_images
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Try expressions on a network that stays loaded.

    A line is an expression, `name = expression`, or a command; :help lists them. Piped lines run
    without a prompt and stop at the first mistake.
    """
    from emqlang.cli.conversation import Repl, start
    from emqlang.tasks.workbench import Workbench, WorkbenchOptions

    ctx.exit(start(Repl(Workbench(WorkbenchOptions(**options))), sys.stdin))
