"""Table 1 of the paper on every shipped table: Spearman's correlation @100/50/20, as Markdown.

    emqlang rank --table resnet18-fmnist-all --table vgg-fmnist-all --json > standings.json
    python studies/table1.py standings.json

Intervals are of 95 %.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from statistics import mean
from typing import Any

from rows import table

PAPER = {  # Table 1 of the paper, @100/50/20
    "bparams": (0.5508, 0.3241, 0.2867),
    "hawq": (0.6047, 0.3621, 0.2364),
    "hawq_v2": (0.7475, 0.4412, 0.3019),
    "ompq": (0.3107, 0.1638, 0.0788),
    "qe": (0.3650, 0.2437, 0.2033),
    "snip": (0.3848, 0.1723, 0.3363),
    "synflow": (0.3157, 0.4410, 0.3992),
    "emq": (0.7921, 0.5721, 0.4259),
}


def short(value: float) -> str:
    return f"{value:.2f}".replace("0.", ".", 1)


def cell(proxy: dict[str, Any]) -> str:
    top20, top50, whole = map(short, proxy["rho"])
    low, high = (short(proxy[end][2]) for end in ("low", "high"))
    return f"{whole} ({low} to {high}) / {top50} / {top20}"


def main() -> None:
    parser = ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("standings", type=Path)
    tables = json.loads(parser.parse_args().standings.read_text())["tables"]
    ranked = {t["table"]: {proxy["name"]: proxy for proxy in t["proxies"]} for t in tables}
    names = set.intersection(*(set(proxies) for proxies in ranked.values()))
    lines = []
    for name in sorted(names, key=lambda n: -mean(mean(t[n]["rho"]) for t in ranked.values())):
        paper = " / ".join(map(short, PAPER[name])) if name in PAPER else ""
        lines.append((name, paper, *(cell(proxies[name]) for proxies in ranked.values())))
    print(table(("proxy", "paper", *ranked), lines))


if __name__ == "__main__":
    main()
