"""`emqlang fmt`."""

from __future__ import annotations

import click

from emqlang.cli.base import declare
from emqlang.grammar.library import STDIN
from emqlang.grammar.text.formatter import reformat, reformat_stdin
from emqlang.views import render


@declare(
    "fmt",
    "emqlang fmt proxies.emq",
    "emqlang fmt --check proxies.emq",
    "emqlang fmt - < proxies.emq",
)
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option(
    "--check",
    is_flag=True,
    help="Write nothing; name the files that are not in form, and exit with 1 if there are any.",
)
@click.pass_context
def command(ctx: click.Context, /, files: tuple[str, ...], check: bool) -> None:
    """Lay out .emq files in the standard form; `-` reads stdin and writes stdout.

    Only spaces, blank lines and indentation change. A file with a mistake is left alone.
    """
    loose = [path for path in files if path != STDIN and reformat(path, write=not check)]
    if STDIN in files:
        text, changed = reformat_stdin()
        loose += [STDIN] * (check and changed)
        render.raw("" if check else text)
    for path in loose:
        render.note(f"{'would reformat' if check else 'reformatted'} {path}")
    ctx.exit(int(check and bool(loose)))
