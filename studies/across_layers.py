"""How scores across layers rank the shipped tables, and what they cost where they choose.

emqlang rank fisher_cross ... --stat-images 256 --label-draws 4 --json > standings.json
python studies/across_layers.py standings.json    # its proxies' lines in the CSV file, anew
python studies/across_layers.py                   # tables of docs/results/which-proxy-ranks-best.md
"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import Any

from rows import Row, load, save, table
from table1 import short

from emqlang.grammar.library import LIBRARY

BASELINES = [name for name in LIBRARY if LIBRARY.shelf(name) == "baselines"]
NAME = "across_layers"
OTHERS = {*BASELINES} - {"bit_sum"}  # are in every ranking, and left out here


def rows(standings: Mapping[str, Any]) -> Iterator[Row]:
    """A row for each table and proxy."""
    for ranked in standings["tables"]:
        for proxy in ranked["proxies"]:
            if proxy["name"] in OTHERS:
                continue
            tops = zip((20, 50, 100), proxy["rho"], strict=True)
            yield {
                "table": ranked["table"],
                "proxy": proxy["name"] or proxy["text"],
                **{f"rho@{top}": rho for top, rho in tops},
                "low": proxy["low"][-1],
                "high": proxy["high"][-1],
                "regret": proxy["regret"],
            }


def print_tables(found: Sequence[Row]) -> None:
    """Correlations, then regret: a line for each proxy, the best mean first."""
    names = list(dict.fromkeys(row["table"] for row in found))
    proxies: dict[str, list[Row]] = {}
    for row in sorted(found, key=lambda row: names.index(row["table"])):
        proxies.setdefault(row["proxy"], []).append(row)
    tops = ("rho@100", "rho@50", "rho@20")

    def joined(values: Sequence[float]) -> str:
        return " / ".join(map(short, values))

    order = sorted(proxies.items(), key=lambda item: -fmean(row["rho@100"] for row in item[1]))
    lines = (
        (
            name,
            joined([fmean(row[top] for row in own) for top in tops]),
            *(joined([row[top] for top in tops]) for row in own),
        )
        for name, own in order
    )
    print(table(("@100 / @50 / @20", "mean", *names), lines))
    order = sorted(proxies.items(), key=lambda item: fmean(row["regret"] for row in item[1]))
    lines = (
        (
            name,
            f"{fmean(row['regret'] for row in own):.2f}",
            *(f"{row['regret']:.2f}" for row in own),
        )
        for name, own in order
    )
    print(table(("regret, points", "mean", *names), lines))


def main() -> None:
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("standings", type=Path, nargs="*")
    standings = parser.parse_args().standings
    if standings:
        read = [json.loads(path.read_text()) for path in standings]
        ranked = chain(load(NAME), *map(rows, read))
        save(NAME, {(row["table"], row["proxy"]): row for row in ranked}.values())
    print_tables(load(NAME))


if __name__ == "__main__":
    main()
