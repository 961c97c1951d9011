"""`emqlang bench validate`."""

from __future__ import annotations

import click

from emqlang.cli.base import declare
from emqlang.cli.options import Words, as_json, table_names


@declare(
    "validate",
    "emqlang bench validate resnet18-fmnist-all",
    "emqlang bench validate mine.table --network",
)
@click.argument(
    "names", metavar="TABLE...", nargs=-1, required=True, type=Words("table", table_names)
)
@click.option(
    "--network", is_flag=True, help="Load the network, too, and check that it is the table's."
)
@as_json
@click.pass_context
def command(ctx: click.Context, /, names: tuple[str, ...], network: bool, as_json: bool) -> None:
    """Check tables for damage, edits, missing rows and, with --network, for another network."""
    from emqlang.grammar.diagnostics import EXIT_OK, EmqError
    from emqlang.quant.networks.network import load as load_network
    from emqlang.quant.tables.table import Table, load
    from emqlang.views import bench

    found: dict[str, EmqError | Table] = {}
    for name in names:
        try:
            table = found[name] = load(name)
            if network:
                spec = table.spec
                table.check(
                    load_network(spec.model, spec.weights, seed=spec.seed, data=spec.data or "")
                )
        except EmqError as failure:
            found[name] = failure
    bench.verdicts(found, as_json)
    ctx.exit(
        max(
            (one.exit_status for one in found.values() if isinstance(one, EmqError)),
            default=EXIT_OK,
        )
    )
