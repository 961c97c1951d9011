"""`emqlang bench import`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from emqlang.cli.base import declare
from emqlang.cli.options import FILE, network_only
from emqlang.cli.outputs import output
from emqlang.tasks.outputs import Output
from emqlang.views import render

# A table that is there is gone on with if it is the same, and refused if not.
TABLE = Output(finished=(), replaced=("",))


@declare(
    "import",
    "emqlang bench import rows.csv --model resnet18-fmnist --out mine.table",
    "emqlang bench import PTQ-GT.pkl --model resnet18 --out mq-bench.table",
)
@click.argument("source", metavar="FILE", type=FILE)
@output("--out", TABLE, "The table's file.", required=True)
@network_only
def command(source: Path, out: Path, **options: Any) -> None:
    """Make a table of a CSV, or of the pickle that EMQ's authors use.

    A CSV has columns config (4,4,2,...) and accuracy (0 to 1), and any others that `bench export`
    writes. The pickle is {number: {'bit_cfg': '(4, 4, 2, ...)', 'acc': percent}}; nothing in it is
    run.
    """
    from emqlang.quant.tables.exchange import import_table
    from emqlang.quant.tables.spec import IMPORTED, Spec

    line = shlex.join(["emqlang", *sys.argv[1:]])
    rows = import_table(source, out, Spec(**options, rounding=IMPORTED), line)
    render.note(f"{rows:,} rows in {out}")
