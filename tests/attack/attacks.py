"""Every attack by name, the command line that runs them, and the page that says what came out."""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import files
import kills
import modules
import solver
import texts
from trials import Attack, Ledger, run, tally

ATTACKS = {
    attack.name: attack
    for part in (kills, solver, texts, files, modules)
    for attack in part.ATTACKS
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python tests/attack",
        description="Attacks on what emqlang promises; goes on where it was stopped.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ATTACKS)}")
    parser.add_argument("--out", type=Path, default=Path("attack"), help="folder of the ledgers")
    parser.add_argument("--trials", type=int, help="trials of each  [default: its own number]")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after this time")
    parser.add_argument("--report", type=Path, help="write this page")
    parser.add_argument("--again", action="store_true", help="try those that failed once more")
    given = parser.parse_args()
    if unknown := [name for name in given.names if name not in ATTACKS]:
        parser.error(f"no attack is called {unknown[0]}; one of {', '.join(ATTACKS)}")
    until = time.time() + 60 * given.minutes
    chosen = [ATTACKS[name] for name in given.names or ATTACKS]
    folder = given.out.resolve()
    for attack in chosen:
        run(attack, folder, given.trials or attack.trials, until, given.again)
    if given.report:
        given.report.write_text("\n".join(page(list(ATTACKS.values()), folder)) + "\n")
    ledgers = (Ledger(folder, attack.name).verdicts().values() for attack in chosen)
    return int(any(not verdict.passed for verdicts in ledgers for verdict in verdicts))


def _last(attacks: Sequence[Attack], folder: Path) -> str:
    """The day of the last trial."""
    paths = [Ledger(folder, attack.name).path for attack in attacks]
    times = [path.stat().st_mtime for path in paths if path.exists()]
    return time.strftime("%Y-%m-%d", time.gmtime(max(times, default=time.time())))


def _machine() -> str:
    cores = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    return f"{cores}, Python {platform.python_version()}, torch {version('torch')}"


def page(attacks: Sequence[Attack], folder: Path) -> Iterator[str]:
    """What was tried and what failed, as Markdown."""
    yield "# Reliability"
    yield ""
    yield "What emqlang promises of its files, its solver, its language and foreign networks,"
    yield "attacked at random. `make attack MINUTES=60` goes on where it was stopped, and writes"
    yield "this page; `python tests/attack --out attack NAME` runs one attack, `--again` what"
    yield "failed of it. Trial n is the same in every run, though the code may have grown between"
    yield "two trials. What failed, and has not passed since, is listed below."
    yield ""
    yield f"Last trial on {_last(attacks, folder)}; {_machine()}."
    yield ""
    yield "| attack | promise | tried | failed |"
    yield "|---|---|---:|---:|"
    everything = {attack.name: Ledger(folder, attack.name).verdicts() for attack in attacks}
    for attack in attacks:
        verdicts = everything[attack.name]
        failed = sum(not verdict.passed for verdict in verdicts.values())
        tried = f"{len(verdicts):,} of {attack.trials:,}"
        yield f"| {attack.name} | {attack.promise} | {tried} | {failed:,} |"
    yield ""
    yield "## Outcomes"
    for attack in attacks:
        verdicts = everything[attack.name]
        if verdicts:
            yield ""
            yield f"**{attack.name}**: " + ", ".join(
                f"{what} ({n:,})" for what, n in tally(verdicts)
            )
        failures = [(n, verdict.what) for n, verdict in verdicts.items() if not verdict.passed]
        if failures:
            yield ""
            yield from (f"- failed, trial {number}: `{what}`" for number, what in failures[:20])
