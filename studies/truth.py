"""What the searches' winners are worth on tables that no search has seen, beside the whole library and the ceilings.

    emqlang experiment truth --out truth --workers 2         # five runs a variant, about 20 minutes
    python studies/truth.py truth                         # ranks them, into studies/results/truth.json
    python studies/truth.py                               # that file's tables for docs/results.md

The winners are named beforehand: `evolved` and its sisters in the library, chosen by search fitness alone. The rival is, on
each table, whichever other proxy of the library ranks it best. Statistics of 256 images; intervals resample rows and images.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from emqlang.grammar.library import LIBRARY
from emqlang.grammar.program import Program, parse
from emqlang.quant.tables.table import load
from emqlang.tasks.rank import Terms, contenders, judge
from emqlang.tasks.truth import ceilings
from emqlang.tasks.workbench import Settings, Workbench

RESULT = Path(__file__).parent / "results" / "truth.json"
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
EVOLVED = tuple(name for name in LIBRARY if LIBRARY.shelf(name) == "evolved")
FORWARDS = ("output_mse", "output_kl", "loss_increase")  # the library's, at N forwards
TOPS = ("@100", "@50", "@20")


def winners(folder: Path) -> dict[str, Program]:
    """The best program of every trial, by variant and seed."""
    found = (json.loads(path.read_text()) for path in sorted(folder.glob("*/[0-9].json")))
    return {
        f"{trial['variant']}, seed {trial['seed']}": parse(trial["facts"]["winner"])
        for trial in found
    }


def measure(folder: Path) -> Iterator[dict[str, Any]]:
    """A record for each table: every proxy's correlations, and how the library's differ from the evolved ones'."""
    runs = winners(folder)
    named = {program.text: name for name, program in runs.items()}
    for name, split in UNSEEN.items():
        table = load(name)
        bench = Workbench.of_table(table, Settings(stat_images=256))
        programs = [*contenders([], table), *runs.values()]
        record: dict[str, Any] = {"table": name, "split": split, "rho": {}, "against": {}}
        for winner in EVOLVED:
            found = judge(table, bench, programs, Terms(split=split, against=winner))
            record["rows"] = len(found.table)
            for one in found.standings:
                own = named.get(one.name, one.name)
                record["rho"][own] = {
                    "rho": _flip(one.rho),
                    "low": _flip(one.low),
                    "high": _flip(one.high),
                }
                if own in LIBRARY and own not in EVOLVED and one.difference is not None:
                    low, high = one.difference  # of the rival less the winner
                    record["against"].setdefault(winner, {})[own] = {
                        "low": _flip(-high),
                        "high": _flip(-low),
                    }
        additive = next(c for c in ceilings(table.split(split)) if c.name == "additive")
        record["additive"] = _flip(additive.rho)
        print(name, *(f"{value:.3f}" for value in record["rho"]["evolved"]["rho"]), flush=True)
        yield record


def _flip(values: Sequence[float]) -> list[float]:
    """@100 first, as the paper has it."""
    return [round(float(value), 4) for value in reversed(values)]


def print_standings(records: Sequence[dict[str, Any]]) -> None:
    """Evolved proxies, the library's best two of each price, the ceiling: @100/50/20 on every table."""
    rivals = {
        name: mean(mean(r["rho"][name]["rho"]) for r in records)
        for name in LIBRARY
        if name not in EVOLVED
    }
    order = sorted(rivals, key=lambda name: -rivals[name])
    shown = [*EVOLVED, *order[:5], "bit_sum"]
    print(
        "| table | rows | "
        + " | ".join(shown)
        + " | additive ceiling |\n|---|---:|"
        + "---|" * (len(shown) + 1)
    )
    for r in records:
        cells = [_tops(r["rho"][name]["rho"]) for name in shown]
        print(
            f"| {r['table']}, {r['split']} | {r['rows']} | "
            + " | ".join(cells)
            + f" | {_tops(r['additive'])} |"
        )


def print_claims(
    records: Sequence[dict[str, Any]], winner: str, rivals: Sequence[str], title: str
) -> None:
    """The winner less the best rival, with the 95 % interval of each."""
    print(
        f"\n{title}\n\n| table | best rival | "
        + " | ".join(TOPS)
        + " |\n|---|---|"
        + "---|" * len(TOPS)
    )
    for r in records:
        best = max(rivals, key=lambda name, r=r: mean(r["rho"][name]["rho"]))
        span, own, other = (
            r["against"][winner][best],
            r["rho"][winner]["rho"],
            r["rho"][best]["rho"],
        )
        cells = [
            f"{_bold(f'{own[i] - other[i]:+.2f}', span['low'][i] > 0)} ({span['low'][i]:+.2f} to {span['high'][i]:+.2f})"
            for i in range(len(TOPS))
        ]
        print(f"| {r['table']}, {r['split']} | {best} | " + " | ".join(cells) + " |")


def print_spread(records: Sequence[dict[str, Any]]) -> None:
    """Mean and deviation over the five runs of each variant."""
    variants = list(
        dict.fromkeys(name.split(", seed")[0] for name in records[0]["rho"] if ", seed" in name)
    )
    print("\n| table | " + " | ".join(variants) + " |\n|---|" + "---|" * len(variants))
    for r in records:
        cells = []
        for variant in variants:
            runs = [
                one["rho"]
                for name, one in r["rho"].items()
                if name.split(", seed")[0] == variant and ", seed" in name
            ]
            cells.append(
                " / ".join(
                    f"{mean(values):.2f}±{stdev(values):.2f}" for values in zip(*runs, strict=True)
                )
            )
        print(f"| {r['table']}, {r['split']} | " + " | ".join(cells) + " |")


def _tops(values: Sequence[float]) -> str:
    return " / ".join(f"{value:.2f}".replace("0.", ".", 1) for value in values)


def _bold(text: str, yes: bool) -> str:
    return f"**{text}**" if yes else text


def main() -> None:
    parser = ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?")
    folder = parser.parse_args().folder
    if folder is not None:
        RESULT.write_text(json.dumps(list(measure(folder)), indent=1) + "\n")
    records = json.loads(RESULT.read_text())
    print_standings(records)
    rivals = [name for name in LIBRARY if name not in EVOLVED]
    cheap = [name for name in rivals if name not in FORWARDS]
    print_claims(
        records, "evolved", cheap, "`evolved` less the best rival that needs no N forwards"
    )
    print_claims(records, "evolved", rivals, "`evolved` less the best rival of all")
    print_claims(
        records, "evolved_forwards", rivals, "`evolved_forwards` less the best rival of all"
    )
    print_claims(
        records,
        "evolved_four",
        cheap,
        "`evolved_four` less the best rival that needs no N forwards",
    )
    print_claims(
        records,
        "evolved_four_forwards",
        rivals,
        "`evolved_four_forwards` less the best rival of all",
    )
    print_spread(records)


if __name__ == "__main__":
    main()
