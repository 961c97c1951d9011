"""What searches find without a family of networks, on that family.

    emqlang experiment transfer --label-draws 4 --size 6000 --out studies/transfer
    python studies/across_families.py    # tables of docs/results/does-a-search-transfer.md

Formulas do not depend on a seed: their first trial stands for all.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from rows import table
from table1 import short

from emqlang.experiments.transfer import FAMILIES

TRIALS = Path(__file__).parent / "transfer"
FIGURES = ("@100%", "@50%", "@20%", "regret")
Figures = Mapping[str, float]


def trials() -> dict[str, dict[str, list[Figures]]]:
    """Who -> left out or all families -> the figures of each seed."""
    found: dict[str, dict[str, list[Figures]]] = {}
    for path in sorted(TRIALS.glob("*/*.json")):
        trial = json.loads(path.read_text())
        place, comma, rest = trial["variant"].partition(",")
        place, _, proxy = place.partition(": ")
        who = proxy or f"searched{comma}{rest}"
        figures = {**trial["figures"], "winner": trial["facts"].get("winner", "")}
        found.setdefault(who, {}).setdefault(place, []).append(figures)
    return found


def mean(many: Iterable[Figures]) -> list[float]:
    own = list(many)
    return [fmean(one[name] for one in own) for name in FIGURES]


def cell(values: Sequence[float]) -> str:
    return f"{' / '.join(map(short, values[:3]))}; {values[3]:.2f}"


def spreads(
    found: Mapping[str, Mapping[str, Sequence[Figures]]],
    searches: Iterable[str],
    places: Sequence[str],
) -> Iterator[tuple[str, ...]]:
    """Of each figure the least and the greatest over the seeds, by place."""
    for who in searches:
        for name in FIGURES:
            runs = ([one[name] for one in found[who][place]] for place in places)
            cells = (f"{short(min(values))} to {short(max(values))}" for values in runs)
            yield (f"{who}, {name}", *cells)


def winner(runs: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """The fitness on the search rows and the text of the run where that is greatest."""
    best = max(runs, key=lambda one: float(one["fitness"]))
    return short(best["fitness"]), f"`{best['winner']}`"


def main() -> None:
    found, places = trials(), [f"{family} left out" for family in FAMILIES]
    own = {who: [mean(by[place]) for place in places] for who, by in found.items()}
    means = {who: [fmean(column) for column in zip(*own[who], strict=True)] for who in own}
    lines = (
        (who, cell(means[who]), *map(cell, own[who]), cell(mean(found[who]["all families"])))
        for who in sorted(own, key=lambda who: -means[who][0])
    )
    print(table(("program", "mean of families", *places, "all families, held out"), lines))
    searches = [who for who in found if who.startswith("searched")]
    everywhere = (*places, "all families")
    print(table(("least to most of the runs", *everywhere), spreads(found, searches, everywhere)))
    wins = ((place, *winner(found["searched"][place])) for place in everywhere)
    print(table(("the run of the best search fitness", "fitness", "its winner"), wins))


if __name__ == "__main__":
    main()
