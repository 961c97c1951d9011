"""The search for proxies, and what a run has found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emqlang.api import arguments
from emqlang.api.notebooks import drawn
from emqlang.api.notices import warn
from emqlang.api.words import in_python
from emqlang.evolve import history
from emqlang.evolve.history import Programs
from emqlang.evolve.ledger import Ledger
from emqlang.evolve.search import Budget
from emqlang.evolve.settings import EvaluationOptions
from emqlang.grammar.diagnostics import error
from emqlang.quant.progress import Progress, silent
from emqlang.quant.tables.shelf import DEFAULT
from emqlang.tasks import evolve as searching
from emqlang.tasks.evolve import EvolveResult
from emqlang.tasks.workers import Workers

drawn(Programs, EvolveResult)


@in_python
def search(
    out: str | Path | None = None,
    tables: str | Path | Sequence[str | Path] = DEFAULT,
    *,
    evals: int | None = None,
    steps: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
    images: int = 256,
    label_draws: int | None = None,
    split: str = "search",
    by: str = "top1",
    workers: int = 1,
    progress: Progress = silent,
    **settings: Any,
) -> EvolveResult:
    """Search for proxies that rank tables, as `emqlang evolve` does; that name is a package's.

    out       folder of the run, which must hold none; runs/evolve-N by default
    evals, steps, seconds  where it stops, whichever comes first; 20,000 evaluations by default
    images, label_draws    that statistics are taken on, and labels drawn for each
    progress  progress(name, done, total)
    settings  of `emqlang evolve`, by their names: islands, population, inputs='w,bits' or a list of
              them, ops, max_nodes, additive=True, no_choice=True, algorithm='emq', ...
    Returns an `EvolveResult`: `front`, the best program of each size, whose `entries` have `text`,
    `fitness` and `rho`; `heldout`, entry's number -> what it is worth on rows that the search has
    not seen; `ledger`. Raises E301 for a folder that holds a run, E403, and what tables and
    statistics raise.
    """
    arguments.check(images=images, label_draws=label_draws, seed=seed, progress=progress)
    if unknown := sorted(set(settings) - searching.SETTINGS):
        known = ", ".join(sorted(searching.SETTINGS))
        raise error("E403", f"there is no setting '{unknown[0]}'", f"one of {known}")
    names = [tables] if isinstance(tables, str | Path) else tables
    options = EvaluationOptions(
        tuple(str(name) for name in names),
        split=split,
        by=by,
        stat_images=images,
        label_draws=label_draws,
    )
    for name in ("inputs", "ops"):
        if isinstance(listed := settings.get(name), str):
            settings[name] = listed.split(",")
    found = searching.search_settings({**settings, "seed": seed})
    folder = Path(out) if out is not None else searching.free_folder()
    run = searching.begin(found, options, folder, "emq.search", Workers(workers), progress)
    result = searching.advance(run, Budget(evals, steps, seconds), progress)
    warn(result.diagnostics)
    return result


@in_python
def front(run: str | Path | EvolveResult) -> Programs:
    """A run's best program of each size, from its folder or its result.

    `plot()` draws it. Raises E301, E316.
    """
    if isinstance(run, EvolveResult):
        return run.front
    ledger = Ledger(Path(run), read_only=True)
    warn(ledger.diagnostics)
    return history.front(ledger)
