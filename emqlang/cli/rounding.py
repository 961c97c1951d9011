"""Options of commands that take statistics: which rounding's errors these see."""

from __future__ import annotations

import click

from emqlang.cli.options import count, stack

# Of other names than `quantize --rounding` has: a proxy may see another rounding than is in use.
statistics_rounding = stack(
    click.option(
        "--rounding",
        "stat_rounding",
        type=click.Choice(["nearest", "adaround", "brecq"]),
        default="nearest",
        show_default=True,
        help="How weights are rounded in statistics of quantization errors: to the nearest value, "
        "or as adaround, which is learned for each layer at each width.",
    ),
    count(
        "--iters",
        "stat_iterations",
        default=1_000,
        help="Iterations of learned rounding per layer and width.",
    ),
)
