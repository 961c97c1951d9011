"""Attacks, their trials, and a ledger of what came out that another run goes on from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INTERNAL_ERROR = 70
LIMIT = 600.0  # seconds that one command may take


@dataclass(frozen=True)
class Verdict:
    """The outcome of one trial: whether it is as promised, and what happened, in a few words."""

    passed: bool
    what: str


@dataclass(frozen=True)
class Attack:
    """One promise, attacked many times.

    promise  what must hold, in one sentence
    trials   how many by default
    prepare  makes what all trials share, in a folder of its own; called once a run
    trial    one attack, drawn from its number alone
    """

    name: str
    promise: str
    trials: int
    prepare: Callable[[Path], Any]
    trial: Callable[[Any, int], Verdict]


class Ledger:
    """One line of JSON per trial in `FOLDER/NAME.jsonl`, written as soon as the trial is over."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{name}.jsonl"

    def verdicts(self) -> dict[int, Verdict]:
        if not self.path.exists():
            return {}
        lines = [line for line in self.path.read_text().splitlines() if line.endswith("}")]
        rows = map(json.loads, lines)
        return {row["trial"]: Verdict(row["passed"], row["what"]) for row in rows}

    def add(self, number: int, verdict: Verdict) -> None:
        row = {"trial": number, "passed": verdict.passed, "what": verdict.what}
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def run(attack: Attack, folder: Path, trials: int, until: float) -> Ledger:
    """Every trial below `trials` that the ledger lacks, until that time of the clock."""
    ledger = Ledger(folder, attack.name)
    missing = [number for number in range(trials) if number not in ledger.verdicts()]
    shared = attack.prepare(folder / attack.name) if missing else None
    for number in missing:
        if time.time() > until:
            break
        ledger.add(number, attack.trial(shared, number))
        counted = ledger.verdicts().values()
        failed = sum(not verdict.passed for verdict in counted)
        sys.stderr.write(f"\r{attack.name}: {len(counted)}/{trials}, {failed} failed ")
    sys.stderr.write("\n" if missing else "")
    return ledger


@dataclass(frozen=True)
class Result:
    """What a command left behind; a negative status is the signal that ended it."""

    status: int
    out: str
    err: str

    @property
    def last(self) -> str:
        """The line that says what went wrong."""
        lines = [line for line in self.err.splitlines() if line.startswith(("error", "internal"))]
        return lines[0][:200] if lines else f"status {self.status}"


def emqlang(folder: Path, *arguments: str, **more: Any) -> Result:
    """One command in a process of its own, with caches in the folder."""
    done = subprocess.run(
        command(*arguments), cwd=folder, env=environment(folder), capture_output=True, text=True,
        timeout=LIMIT, check=False, **more,
    )  # fmt: skip
    return Result(done.returncode, done.stdout, done.stderr)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "emqlang", *arguments]


def environment(folder: Path) -> dict[str, str]:
    places = {name: str(folder / name.lower()) for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME")}
    return {**os.environ, **places, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}


def refused_or(same: Callable[[], bool], done: Result) -> Verdict:
    """What is damaged must be refused with a code, or give the result that it gave before."""
    if done.status == INTERNAL_ERROR or done.status < 0 or "Traceback" in done.err:
        return Verdict(False, done.last)
    if done.status:
        return Verdict(True, f"refused: {done.last.partition(':')[0]}")
    return Verdict(True, "same result") if same() else Verdict(False, "accepted, another result")


def tally(verdicts: Mapping[int, Verdict]) -> Iterator[tuple[str, int]]:
    """How often each outcome of those that passed came up, the most frequent first."""
    counts: dict[str, int] = {}
    for verdict in verdicts.values():
        if verdict.passed:
            counts[verdict.what] = counts.get(verdict.what, 0) + 1
    yield from sorted(counts.items(), key=lambda pair: -pair[1])
