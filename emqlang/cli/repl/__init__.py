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
    "emqlang repl --model vgg-fmnist --table vgg-fmnist-edge",
    "emqlang repl --model resnet18 --weights random",
    "echo 'mean(abs(w))' | emqlang repl",
)
@network
@click.option(
    "--table",
    metavar="TABLE",
    default="",
    help="Benchmark table to rank on: a name or a file.  [default: the network's own, if any]",
)
@statistics_rounding
@calib_images
@click.pass_context
def command(ctx: click.Context, /, table: str, **options: Any) -> None:
    """Try expressions on a network and a benchmark table that stay loaded.

    A line is an expression, `name = expression`, or a command; :help lists them. Piped lines run
    without a prompt and stop at the first mistake.
    """
    from emqlang.cli.repl.conversation import Loading, batch, converse
    from emqlang.cli.repl.keyboard import keyboard

    loading = Loading(options, table)
    if sys.stdin.isatty() and sys.stdout.isatty():
        ctx.exit(converse(loading, keyboard(options["model"], loading.words)))
    ctx.exit(batch(loading, sys.stdin))
