"""Foreign networks, from scores to the evaluated result: they work, or a sentence says why not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import zoo
import zoo_built
import zoo_fed
import zoo_made
import zoo_parts
from entries import MORE, REFUSED, RUNS
from trials import INTERNAL_ERROR, Attack, Result, Verdict, emqlang

PARTS = (
    zoo,
    zoo_built,
    zoo_fed,
    zoo_made,
    zoo_parts,
)  # which enter their networks in RUNS and REFUSED
NAMES = (*RUNS, *REFUSED)
UNSTEADY = "W614"  # the network keeps a state, on which its answers depend


def _commands(name: str) -> list[tuple[str, ...]]:
    """The last two evaluate the same network; what is to be refused is refused by the first."""
    place = (RUNS | REFUSED)[name]
    network = ("--model", f"{place}:{name}", "--data", f"{place}:{name}_data")
    held = ("--hold-unmeasured",) if name in RUNS else ()
    return [
        ("assign", "fisher_error", "--avg-bits", "3", *network, "--stat-images", "16", *MORE[name],
         *held, "--json"),
        ("quantize", "--config", "4", *network, "--calib-images", "16", "--out", "q", "--json"),
        ("evaluate", "q", "--json"),
    ]  # fmt: skip


def _trial(folder: Path, number: int) -> Verdict:
    name = NAMES[number % len(NAMES)]
    place = folder / name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    results = [emqlang(place, *words) for words in _commands(name)]
    crashed = [done for done in results if _crashed(done)]
    if crashed:
        return Verdict(False, f"{name}: {crashed[0].last}")
    if name in REFUSED:
        refused = results[0].status != 0
        said = results[0].last.partition(":")[0]
        return Verdict(refused, f"refused: {said}" if refused else f"{name}: accepted")
    failed = [done for done in results if done.status]
    if failed:
        return Verdict(False, f"{name}: {failed[0].last}")
    after, again = json.loads(results[1].out)["after"], json.loads(results[2].out)
    if all(again[figure] == value for figure, value in after.items()):
        return Verdict(True, "works")
    warned = UNSTEADY in results[1].err
    what = f"works, with {UNSTEADY}" if warned else f"{name}: evaluated again, other figures"
    return Verdict(warned, what)


def _crashed(done: Result) -> bool:
    return done.status == INTERNAL_ERROR or done.status < 0 or "Traceback" in done.err


ATTACKS = (
    Attack(
        "modules",
        f"{len(RUNS)} foreign networks are scored, quantized and evaluated, twice alike, and "
        f"{len(REFUSED)} that cannot be measured are refused with a sentence",
        len(NAMES),
        lambda folder: folder,
        _trial,
    ),
)
