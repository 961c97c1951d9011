"""Bits by scores that were measured elsewhere, without any network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from emqlang.api import arguments
from emqlang.api.notices import warn
from emqlang.api.words import in_python
from emqlang.quant.bits.allocation import Allocation
from emqlang.quant.bits.measured import Rows
from emqlang.tasks.measured import MeasuredOptions, choose


@in_python
def assign_scores(
    scores: str | Path | Rows,
    *,
    size: str | int | None = None,
    bops: str | int | None = None,
    latency: str | int | None = None,
    avg_bits: str | float | None = None,
    fix: str | Mapping[str, str] = "",
    tie: str = "",
    columns: str = "",
    partial: bool = False,
    act_bits: int = 8,
) -> Allocation:
    """The choice for every layer with the greatest total score within every budget, proven.

    scores   a CSV or JSON file, or rows as dicts, of name, numel, choice, bits and score (or loss),
             and macs and latency in milliseconds where these are known
    fix      'output=Q8_0,blk.0.*=Q6_K', or a dict: layers, by pattern, whose choice is given
    tie      'blk.{}.attn_[qkv]': layers that share a choice, {} being the same text for all
    columns  'name=tensor,loss=kld': what the columns are called there
    partial  accept layers that lack choices, which they are then never given
    Budgets are written as for `assign`. `allocation.choices` maps layers to choices,
    `allocation.bits` to bits per weight, `allocation.solver` has the score and its gap. Raises E301
    and E321 for the scores, E402 for `fix` and `tie`, E403, E404, E405 for budgets, E501.
    """
    arguments.check(act_bits=act_bits, partial=partial, tie=tie, columns=columns)
    bits = choose(
        scores,
        MeasuredOptions(
            size=arguments.amount("size", size),
            bops=arguments.amount("bops", bops),
            latency=arguments.amount("latency", latency),
            avg_bits=arguments.amount("avg-bits", avg_bits),
            fix=arguments.fixed(fix),
            tie=tie,
            columns=columns,
            partial=partial,
            act_bits=act_bits,
        ),
    )
    warn(bits.diagnostics)
    return bits.recipe
