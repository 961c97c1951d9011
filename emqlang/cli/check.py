"""`emqlang check`."""

from __future__ import annotations

import click

from emqlang.cli.base import declare
from emqlang.cli.options import as_json
from emqlang.cli.words import Expression
from emqlang.grammar import library
from emqlang.grammar.diagnostics import EmqError
from emqlang.views import render


@declare(
    "check",
    "emqlang check proxies.emq",
    'emqlang check "log(abs(w)) * numel"',
    "emqlang check - < proxies.emq",
)
@click.argument("words", metavar="FILE|EXPR...", type=Expression(), nargs=-1, required=True)
@as_json
@click.pass_context
def command(ctx: click.Context, /, words: tuple[str, ...], as_json: bool) -> None:
    """Report every mistake of files or expressions.

    Exits with 1 if there is one, with 3 if a file cannot be read; warnings alone exit with 0.
    """
    diagnostics = [diagnostic for word in words for diagnostic in library.diagnose(word)]
    errors = [diagnostic for diagnostic in diagnostics if diagnostic.is_error]
    render.diagnostics(diagnostics)
    if errors:
        count = f"{len(errors)} mistake{'s' if len(errors) > 1 else ''}"
        render.note(count + (" and maybe more" if len(errors) >= library.MOST else ""))
    if as_json:
        records = render.diagnostic_records(diagnostics)
        render.json_object({"schema": "emqlang.check/1", **records})
    ctx.exit(EmqError(*errors).exit_status if errors else 0)
