"""Foreign networks, from scores to the evaluated result: they work, or a sentence says why not."""

from __future__ import annotations

import shutil
from pathlib import Path

import zoo
from trials import INTERNAL_ERROR, Attack, Result, Verdict, emqlang

ZOO = Path(__file__).parent / "zoo.py"
FEW = ("--stat-images", "16")


def _commands(name: str) -> list[tuple[str, ...]]:
    network = ("--model", f"{ZOO}:{name}", "--data", f"{ZOO}:{name}_data")
    unlabelled = ("--loss", "self") if name == "one_output" else ()
    proxy = "mean(abs(w))" if name in ("no_gradient", "reentrant") else "fisher_error"
    scored = "fisher_error" if name in zoo.REFUSED else proxy
    few = () if scored == "mean(abs(w))" else FEW
    return [
        ("assign", scored, "--avg-bits", "3", *network, *few, *unlabelled, "--json"),
        ("quantize", "--config", "4", *network, "--calib-images", "16", "--out", "q", "--json"),
        ("evaluate", "q", *network, "--json"),
    ]


def _trial(folder: Path, number: int) -> Verdict:
    names = [*zoo.RUNS, *zoo.REFUSED]
    name = names[number % len(names)]
    place = folder / name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    results = [emqlang(place, *words) for words in _commands(name)]
    crashed = [done for done in results if _crashed(done)]
    if crashed:
        return Verdict(False, f"{name}: {crashed[0].last}")
    if name in zoo.REFUSED:
        refused = results[0].status != 0
        return Verdict(refused, f"{name}: {results[0].last}" if refused else f"{name}: accepted")
    failed = [done for done in results if done.status]
    return Verdict(not failed, f"{name}: {failed[0].last}" if failed else "works")


def _crashed(done: Result) -> bool:
    return done.status == INTERNAL_ERROR or done.status < 0 or "Traceback" in done.err


ATTACKS = (
    Attack(
        "modules",
        f"{len(zoo.RUNS)} foreign networks are scored, quantized and evaluated, and "
        f"{len(zoo.REFUSED)} that cannot be measured are refused with a sentence",
        len(zoo.RUNS) + len(zoo.REFUSED),
        lambda folder: folder,
        _trial,
    ),
)
