"""The paper's whole search, the cost of rejected candidates, and a race with DEAP's typed GP.

    python benchmarks/search.py [whole] [rejects] [deap]

whole 1,000 iterations of `--algorithm emq` with the paper's settings, the branched structure and
weight inputs, on synthetic statistics with the shapes of ResNet-18's 11.2 M weights; 425 rows
whose truth is Eq. 5's score and noise. The paper evaluates a configuration in 1.02 s (Table 1)
and 50 of them a fitness. rejects two processes propose programs of a space that is used up, and
their steps are committed to the ledger. deap the same statistics, rows and fitness, for the same
number of scored candidates over the same ops; one process each.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from machine import Company, Memory, describe
from shaped import WEIGHTS, Shaped
from synthetic import RESNET18

from emqlang.evolve.ledger import Ledger
from emqlang.evolve.search import Budget, Search
from emqlang.evolve.settings import SearchSettings, paper_settings
from emqlang.tasks.workers import Workers

PAPER_SECONDS = 1_000 * 2 * 50 * 1.02  # two contenders an iteration, 50 configurations each


def whole() -> None:
    settings = paper_settings(inputs=WEIGHTS)
    source = Shaped()
    source.open()
    memory, began = Memory(), perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger.create(Path(folder), {"settings": settings.as_dict()})
        status = Search(ledger, source, Workers().run).advance(Budget(steps=1_001), lambda *_: None)
    seconds = perf_counter() - began
    assert status is not None
    print(f"whole search: {seconds:.1f} s, {status.evaluated:,} evaluated")
    print(f"  best {status.best:.3f}, {memory.grown():.0f} MB beyond the statistics")
    hours, times = PAPER_SECONDS / 3600, PAPER_SECONDS / seconds
    print(f"  the paper's price of that many configurations: {hours:.1f} h, {times:,.0f} times")


def rejects() -> None:
    """A space of few programs is used up first; after that every proposal has been seen before."""
    settings = SearchSettings(
        islands=2,
        inputs=("numel", "depth"),
        ops=("add", "log"),
        max_nodes=5,
        choice_dependent=False,
        immigrants=0.2,
    )
    shapes = tuple((name, (4, 4)) for name in list(RESNET18)[:18])
    source = Shaped(("depth", *WEIGHTS), shapes)
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger.create(Path(folder), {"settings": settings.as_dict()})
        search = Search(ledger, source, Workers(2).run)
        search.advance(Budget(steps=150), lambda *_: None)
        before, began = ledger.status(), perf_counter()
        after = search.advance(Budget(steps=250), lambda *_: None)
        seconds = perf_counter() - began
        assert before is not None and after is not None
        evaluated = after.evaluated - before.evaluated
        rejected = sum(after.funnel.values()) - sum(before.funnel.values()) - evaluated
    print(f"rejected before evaluation: {rejected / seconds:,.0f} per second over 2 processes")
    print(
        f"  {rejected:,} in {seconds:.1f} s and 100 steps, ledger included; {evaluated} evaluated"
    )


def deap(candidates: int) -> None:
    import deap_gp

    scene = Shaped().open()
    settings = SearchSettings(inputs=WEIGHTS, choice_dependent=False, islands=1, migrate=0)
    began = perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger.create(Path(folder), {"settings": settings.as_dict()})
        fresh = replace(scene, cache=type(scene.cache)())
        status = Search(ledger, fresh, Workers().run).advance(
            Budget(evals=candidates), lambda *_: None
        )
    assert status is not None
    ours = status.evaluated / (perf_counter() - began)
    began = perf_counter()
    scored, best = deap_gp.search(scene.benchmarks[0], WEIGHTS, candidates, settings)
    theirs = scored / (perf_counter() - began)
    print("scored candidates per second")
    print(f"emqlang: {ours:.1f} ({status.evaluated} of them, best {status.best:.3f})")
    print(f"DEAP:    {theirs:.1f} ({scored} of them, best {best:.3f}): {ours / theirs:.1f} times")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "parts",
        nargs="*",
        choices=("whole", "rejects", "deap"),
        default=("whole", "rejects", "deap"),
    )
    parser.add_argument(
        "--candidates", type=int, default=300, help="how many emqlang and DEAP score each"
    )
    given = parser.parse_args()
    print(describe())
    company = Company()
    parts: dict[str, Callable[[], None]] = {
        "whole": whole,
        "rejects": rejects,
        "deap": lambda: deap(given.candidates),
    }
    for part in given.parts:
        parts[part]()
    print(company.describe())


if __name__ == "__main__":
    main()
