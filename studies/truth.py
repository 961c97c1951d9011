"""What the searches' winners are worth on tables that no search has seen.

    emqlang experiment truth --out truth --workers 2     # five runs a variant, about 20 minutes
    python studies/truth.py truth                        # ranks them, into CSV files
    python studies/truth.py                              # tables of docs/results/evolved-proxies.md

The winners are named beforehand: `evolved` and its sisters in the library, chosen by search fitness
alone. The rival is, on each table, whichever other proxy of the library ranks it best. Statistics
of 256 images; intervals resample rows and images.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

from rows import Row, load, save, table

from emqlang.grammar.library import LIBRARY
from emqlang.grammar.program import Program, parse
from emqlang.quant.tables import table as tables
from emqlang.tasks.rank import RankOptions, contenders, rank_on
from emqlang.tasks.truth import ceilings
from emqlang.tasks.workbench import Workbench, WorkbenchOptions

UNSEEN = {
    "resnet18-fmnist-all": "heldout",
    "vgg-fmnist-all": "heldout",
    "resnet18-fmnist-s1-all": "all",
    "mobilenetv2-fmnist-all": "all",
    "resnet18-fmnist-brecq": "all",
    "resnet18-fmnist-inner": "all",
    "vgg-fmnist-inner": "all",
    "resnet18-fmnist-s1-inner": "all",
    "mobilenetv2-fmnist-inner": "all",
}
EVOLVED = tuple(  # of sums over layers
    name for name, one in LIBRARY.items() if LIBRARY.shelf(name) == "evolved" and one.separable
)
FORWARDS = ("output_mse", "output_kl", "loss_increase")  # the library's, at N forwards
SAME = "hawq_v2_published"  # its rows are those of `hawq_v2`, as it was called
# What does not separate came into the library after these standings.
RIVALS = tuple(
    name for name, one in LIBRARY.items() if name not in (*EVOLVED, SAME) and one.separable
)
CHEAP = tuple(name for name in RIVALS if name not in FORWARDS)
TOPS = ("@100", "@50", "@20")
CEILING = "additive ceiling"
CLAIMS = (  # a winner, its rivals, and what they are
    ("evolved", CHEAP, "the best rival that needs no N forwards"),
    ("evolved", RIVALS, "the best rival of all"),
    ("evolved_forwards", RIVALS, "the best rival of all"),
    ("evolved_four", CHEAP, "the best rival that needs no N forwards"),
    ("evolved_four_forwards", RIVALS, "the best rival of all"),
)
Correlations = dict[str, dict[str, list[float]]]  # of each table and proxy, in the order of TOPS


def measure(folder: Path) -> None:
    """Every proxy's correlations on every table, and how the winners' differ from their rivals'."""
    runs = _winners(folder)
    names = {program.text: name for name, program in runs.items()}
    rows: list[Row] = []
    differences: dict[tuple[str, str, str], Row] = {}
    for name, split in UNSEEN.items():
        bench_table = tables.load(name)
        bench = Workbench.of_table(bench_table, WorkbenchOptions(stat_images=256))
        programs = [*contenders([], bench_table), *runs.values()]
        correlations: dict[str, list[float]] = {}
        for winner in EVOLVED:
            options = RankOptions(split=split, against=winner)
            ranking = rank_on(bench_table, bench, programs, options)
            for standing in ranking.standings:
                correlations[names.get(standing.name, standing.name)] = standing.rho.tolist()
                if standing.name in RIVALS and standing.difference is not None:
                    low, high = standing.difference  # of the rival less the winner
                    span = _columns("low", -high) | _columns("high", -low)
                    differences[name, winner, standing.name] = span
        additive = next(c for c in ceilings(bench_table.split(split)) if c.name == "additive")
        start = {"table": name, "split": split, "rows": len(ranking.table)}
        for proxy, rho in (*correlations.items(), (CEILING, additive.rho.tolist())):
            rows.append(start | {"proxy": proxy} | _columns("rho", rho))
    save("truth", rows)
    save("truth_differences", _cited(_by_table(rows), differences))


def _winners(folder: Path) -> dict[str, Program]:
    """The best program of every trial, by variant and seed."""
    trials = (json.loads(path.read_text()) for path in sorted(folder.glob("*/[0-9].json")))
    return {
        f"{trial['variant']}, seed {trial['seed']}": parse(trial["facts"]["winner"])
        for trial in trials
    }


def _columns(name: str, values: Iterable[float]) -> dict[str, float]:
    """@100 first, as the paper has it."""
    tops = zip(TOPS, reversed(list(values)), strict=True)
    return {name + top: round(float(value), 4) for top, value in tops}


def _by_table(rows: Iterable[Row]) -> Correlations:
    correlations: Correlations = {}
    for row in rows:
        values = [row["rho" + top] for top in TOPS]
        correlations.setdefault(row["table"], {})[row["proxy"]] = values
    return correlations


def _best(correlations: Mapping[str, Sequence[float]], rivals: Iterable[str]) -> str:
    return max(rivals, key=lambda name: mean(correlations[name]))


def _cited(
    correlations: Correlations, differences: Mapping[tuple[str, str, str], Row]
) -> Iterator[Row]:
    """The differences that `CLAIMS` are about."""
    for name in UNSEEN:
        for winner, rivals in dict.fromkeys((winner, rivals) for winner, rivals, _ in CLAIMS):
            rival = _best(correlations[name], rivals)
            span = differences[name, winner, rival]
            yield {"table": name, "winner": winner, "rival": rival} | span


def print_standings(rows: Sequence[Row]) -> None:
    """Evolved proxies, the library's best and the ceiling: @100/50/20 on every table."""
    correlations = _by_table(rows)
    average = {name: mean(mean(own[name]) for own in correlations.values()) for name in RIVALS}
    best = sorted(RIVALS, key=lambda name: -average[name])[:5]
    shown = (*EVOLVED, *best, "bit_sum", CEILING)
    counts = {row["table"]: row["rows"] for row in rows}
    lines = (
        (_title(name), counts[name], *(_tops(correlations[name][proxy]) for proxy in shown))
        for name in UNSEEN
    )
    print(table(("table", "rows", *shown), lines, "rows"))


def print_claims(rows: Sequence[Row], differences: Sequence[Row]) -> None:
    """Each winner less its best rival, with the 95 % interval."""
    correlations = _by_table(rows)
    spans = {(row["table"], row["winner"], row["rival"]): row for row in differences}
    for winner, rivals, title in CLAIMS:
        lines = []
        for name, rho in correlations.items():
            rival = _best(rho, rivals)
            span = spans[name, winner, rival]
            cells = []
            for top, own, other in zip(TOPS, rho[winner], rho[rival], strict=True):
                low, high = span["low" + top], span["high" + top]
                difference = f"{own - other:+.2f}"
                bold = f"**{difference}**" if low > 0 else difference
                cells.append(f"{bold} ({low:+.2f} to {high:+.2f})")
            lines.append((_title(name), rival, *cells))
        print(f"`{winner}` less {title}\n")
        print(table(("table", "best rival", *TOPS), lines))


def print_spread(rows: Sequence[Row]) -> None:
    """Mean and deviation over the five runs of each variant."""
    correlations = _by_table(rows)
    runs = [name for name in correlations[next(iter(UNSEEN))] if ", seed" in name]
    variants = list(dict.fromkeys(name.split(", seed")[0] for name in runs))
    lines = []
    for name, own in correlations.items():
        cells = []
        for variant in variants:
            seeds = [own[run] for run in runs if run.split(", seed")[0] == variant]
            tops = zip(*seeds, strict=True)
            cells.append(" / ".join(f"{mean(top):.2f}±{stdev(top):.2f}" for top in tops))
        lines.append((_title(name), *cells))
    print(table(("table", *variants), lines))


def _title(name: str) -> str:
    return f"{name}, {UNSEEN[name]}"


def _tops(values: Sequence[float]) -> str:
    return " / ".join(f"{value:.2f}".replace("0.", ".", 1) for value in values)


def main() -> None:
    parser = ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "folder", type=Path, nargs="?", help="what `emqlang experiment truth` wrote"
    )
    folder = parser.parse_args().folder
    if folder is not None:
        measure(folder)
    rows = load("truth")
    print_standings(rows)
    print_claims(rows, load("truth_differences"))
    print_spread(rows)


if __name__ == "__main__":
    main()
