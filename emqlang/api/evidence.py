"""Benchmark tables, and how well proxies rank their configurations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from emqlang.api import arguments
from emqlang.api.notebooks import drawn
from emqlang.api.notices import warn
from emqlang.api.words import in_python
from emqlang.grammar import library
from emqlang.grammar.diagnostics import error
from emqlang.grammar.program import Program
from emqlang.quant.tables.shelf import DEFAULT, shipped
from emqlang.quant.tables.table import Table, load
from emqlang.tasks import rank as ranking
from emqlang.tasks.rank import RankOptions, RankResult
from emqlang.tasks.workbench import ITERATIONS, WorkbenchOptions

drawn(Table, RankResult)


@in_python
def tables() -> Mapping[str, Path]:
    """The benchmark tables that come with the package: name -> file."""
    return shipped()


@in_python
def load_table(table: str | Path) -> Table:
    """A table by name or file.

    `choices` (n, groups), `accuracy`, `loss`, `size` in bytes and `bops` (n,), `bits` (n, groups),
    `right` (n, images); `plot(*proxies)` draws them. Raises E301 and E314.
    """
    return load(str(table))


@in_python
def rank(
    proxies: str | Program | Sequence[str | Program] = (),
    tables: str | Path | Sequence[str | Path] = DEFAULT,
    *,
    split: str = "all",
    by: str = "top1",
    against: str = "",
    draws: int = 1000,
    seed: int = 0,
    images: int | None = None,
    loss: str | Callable[[Any, Any], Tensor] | None = None,
    label_draws: int | None = None,
    rounding: str = "nearest",
    iterations: int = ITERATIONS,
    device: str = "auto",
    cache: bool = True,
) -> RankResult:
    """How well proxies rank the configurations of tables, beside the trivial baselines.

    proxies      texts, names of the library, `file.emq`; none for the whole library
    tables       names of shipped tables, or files
    split        'search' rows, 'heldout' ones, or 'all'
    by           'top1' or 'loss'
    against      a proxy's name: intervals of the difference to it
    draws        resamples of rows and test images for the 95 % intervals
    images, loss, label_draws, rounding, iterations, device, cache  of the statistics, as in
                 `collect`; by default as each proxy was made for
    Returns a `RankResult`: `rankings`, a table each, with `standings`, the best first: `rho`, `low`
    and `high` (3,) over the best 20, 50 and 100 % of the rows, `regret` in points, `tau`, `scores`
    (rows,). Raises E1xx and E2xx for texts, E102, E301, E314, E315, E403, E406.
    """
    arguments.check(stat_images=images, label_draws=label_draws, iterations=iterations)
    arguments.check(loss=loss, rounding=rounding, device=device, seed=seed)
    words = {"split": (split, ("search", "heldout", "all")), "by": (by, ("top1", "loss"))}
    for name, (word, known) in words.items():
        if word not in known:
            raise error("E403", f"{name} is '{word}', and is one of {', '.join(known)}")
    several = [proxies] if isinstance(proxies, str | Program) else proxies
    programs = [
        program
        for each in several
        for program in (library.find(each) if isinstance(each, str) else [each])
    ]
    names = [tables] if isinstance(tables, str | Path) else tables
    options = RankOptions(split=split, by=by, against=against, draws=draws, seed=seed)
    settings = WorkbenchOptions(
        stat_images=images,
        loss=loss,
        label_draws=label_draws,
        stat_rounding=rounding,
        stat_iterations=iterations,
        device=device,
        cache=cache,
    )
    result = ranking.rank(programs, [str(name) for name in names], options, settings)
    warn(result.diagnostics)
    return result
