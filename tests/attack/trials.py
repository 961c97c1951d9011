"""Attacks, their trials, and a ledger of what came out that another run goes on from."""

from __future__ import annotations

import itertools
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
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


def run(attack: Attack, folder: Path, trials: int, until: float, again: bool = False) -> Ledger:
    """Every trial below `trials` that the ledger lacks, until that time of the clock.

    again  whether those that failed are tried once more; the ledger keeps both, the last one counts
    """
    ledger = Ledger(folder, attack.name)
    known = {
        number: verdict
        for number, verdict in ledger.verdicts().items()
        if verdict.passed or not again
    }
    missing = [number for number in range(trials) if number not in known]
    shared = attack.prepare(folder / attack.name) if missing else None
    tried, failed = len(known), sum(not verdict.passed for verdict in known.values())
    for number in missing:
        if time.time() > until:
            break
        verdict = attack.trial(shared, number)
        ledger.add(number, verdict)
        tried, failed = tried + 1, failed + (not verdict.passed)
        sys.stderr.write(f"\r{attack.name}: {tried}/{trials}, {failed} failed ")
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


class Server:
    """`server.py` as a process; its commands run one at a time, each in a process of its own."""

    def __init__(self, hashes: int) -> None:
        """`hashes` seeds the order of Python's sets, in which no result may lie."""
        more = {"OMP_NUM_THREADS": "1", "NO_COLOR": "1", "PYTHONHASHSEED": str(hashes)}
        self.process = subprocess.Popen(
            [sys.executable, "-P", Path(__file__).parent / "server.py"],
            env=os.environ | more, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
        )  # fmt: skip
        self.number = 0

    def start(self, folder: Path, arguments: Sequence[str], out: Path) -> None:
        request = {"folder": str(folder), "arguments": arguments, "out": str(out)}
        assert self.process.stdin is not None
        self.process.stdin.write(f"{json.dumps(request)}\n".encode())
        self.number = self._answer()

    def wait(self, seconds: float) -> int | None:
        """The exit status, or None if the command still works after these seconds."""
        ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, seconds))
        return self._answer() if ready else None

    def kill(self) -> int:
        os.killpg(self.number, signal.SIGKILL)
        return self._answer()

    def _answer(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())


@cache
def servers() -> Iterator[Server]:
    """Two of them in turn, which end with this process."""
    return itertools.cycle([Server(1), Server(2)])


def emqlang(folder: Path, *arguments: str) -> Result:
    """One command in a process of its own, with caches in the folder."""
    server, out = next(servers()), folder / "said"
    server.start(folder, arguments, out)
    status = server.wait(LIMIT)
    if status is None:
        status = server.kill()
    texts = [out.with_suffix(end) for end in (".out", ".err")]
    said = [path.read_text(errors="replace") for path in texts]
    for path in texts:
        path.unlink()
    return Result(status, *said)


def killed(folder: Path, arguments: Sequence[str], after: float) -> bool:
    """Starts a command and kills it after that many seconds; whether it was still at work."""
    server = next(servers())
    server.start(folder, arguments, folder / "killed")
    if server.wait(after) is not None:
        return False
    server.kill()
    return True


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
