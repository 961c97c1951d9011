"""One harness for all benchmarks: sides alternate in one process, and no figure without its spread.

A repetition runs every side once, in an order that turns by one each time, so that what else the
machine does meets all of them alike. Its figure is a ratio of times within the repetition, or a
time where there is nothing to compare with; a benchmark's figure is the median over repetitions,
its spread lies from the tenth to the ninetieth percentile. A target that lies within the spread is
neither met nor missed: then there is no verdict.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from statistics import median
from time import perf_counter
from typing import Any, Literal

import numpy as np
from machine import Company, Memory, cpu_seconds, describe

FEWEST = 7  # repetitions
CROWDED = 0.1  # of the processors taken by other processes: figures then say little
Bound = Literal["at least", "at most"]


@dataclass(frozen=True)
class Side:
    """One way to do the work. `before` is run before each repetition, and not timed."""

    name: str
    work: Callable[[], Any]
    before: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Case:
    """What a benchmark compares, its inputs made.

    rivals  other ways to the same end; the one with the least median counts
    floor   what cannot be done without, as reading the buffers once
    same    raises where another side's result, given second, is not that of ours
    per     items in one repetition, where the figure is a time
    """

    ours: Side
    rivals: Sequence[Side] = ()
    floor: Side | None = None
    same: Callable[[Any, Any], None] = lambda ours, theirs: None
    per: int = 1


@dataclass(frozen=True)
class Benchmark:
    """A figure, and what it should be.

    With rivals it is a ratio of times: of the best rival's to ours, if it should be at least the
    target, and of ours to the best rival's, if at most. Without, it is our time in microseconds.

    unit   'x' with rivals, ' us' without
    needs  packages without which it is left out
    """

    name: str
    make: Callable[[], Case]
    bound: Bound
    target: float
    unit: str = "x"
    needs: Sequence[str] = ()

    @property
    def wanted(self) -> str:
        return f"{self.bound} {self.target:,g}{self.unit}"


@dataclass(frozen=True)
class Figure:
    """The values of all repetitions."""

    values: Sequence[float]

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def spread(self) -> tuple[float, float]:
        low, high = np.quantile(self.values, (0.1, 0.9)).tolist()
        return low, high

    def verdict(self, bound: Bound, target: float) -> str:
        """'met', 'missed', or why there is none."""
        low, high = self.spread
        if bound == "at most":
            low, high, target = -high, -low, -target
        if low < target <= high:
            return "no verdict: the spread is wider than the margin"
        return "met" if low >= target else "missed"

    def text(self, unit: str) -> str:
        """The median, with the spread in brackets."""
        digits = 2 if self.median < 10 else 1 if self.median < 100 else 0
        low, high = self.spread
        return f"{self.median:.{digits}f}{unit} [{low:.{digits}f}, {high:.{digits}f}]"


@dataclass
class Times:
    """Seconds of each side, in the order of the repetitions, and the memory that ours took."""

    of: dict[str, list[float]] = field(default_factory=dict)
    memory: float = 0.0

    def ratio(self, one: str, other: str) -> Figure:
        pairs = zip(self.of[one], self.of[other], strict=True)
        return Figure([first / second for first, second in pairs])


def measure(case: Case, rounds: int, clock: Callable[[], float]) -> Times:
    """Every side once to warm up, which compares results, and then `rounds` times."""
    sides = [case.ours, *case.rivals, *([case.floor] if case.floor else [])]
    times = Times({side.name: [] for side in sides})
    case.ours.before()
    memory = Memory()
    expected = case.ours.work()
    times.memory = memory.grown()
    for rival in case.rivals:
        rival.before()
        case.same(expected, rival.work())
    for number in range(rounds):
        for place in range(len(sides)):
            side = sides[(number + place) % len(sides)]
            side.before()
            start = clock()
            side.work()
            times.of[side.name].append(clock() - start)
    return times


def report(benchmark: Benchmark, case: Case, times: Times) -> list[str]:
    """The figure with its verdict; below it the sides, the floor and the memory."""
    ours = case.ours.name
    if case.rivals:
        best = min((rival.name for rival in case.rivals), key=lambda name: median(times.of[name]))
        pair = (best, ours) if benchmark.bound == "at least" else (ours, best)
        figure = times.ratio(*pair)
    else:
        figure = Figure([1e6 * seconds / case.per for seconds in times.of[ours]])
    verdict = figure.verdict(benchmark.bound, benchmark.target)
    sides = [f"{name} {1000 * median(seconds):.2f} ms" for name, seconds in times.of.items()]
    first = f"{benchmark.name}: {figure.text(benchmark.unit)}, {benchmark.wanted}: {verdict}"
    lines = [first, ", ".join(sides)]
    if case.floor:
        lines.append(f"{times.ratio(ours, case.floor.name).text('x')} the floor")
    lines.append(f"{times.memory:.0f} MB beyond the inputs")
    return lines


def main(benchmarks: Sequence[Benchmark]) -> None:
    """Runs those that the command line names, or all."""
    parser = argparse.ArgumentParser(description="Ratios, each with its spread.")
    parser.add_argument("words", nargs="*", help="parts of names; all benchmarks without any")
    parser.add_argument("--rounds", type=int, default=11, help=f"repetitions, {FEWEST} or more")
    parser.add_argument("--cpu", action="store_true", help="CPU seconds, where others work too")
    parser.add_argument("--list", action="store_true", help="print names and targets alone")
    options = parser.parse_args()
    if options.rounds < FEWEST:
        parser.error(f"a spread takes {FEWEST} repetitions or more")
    chosen = [
        each
        for each in benchmarks
        if not options.words or any(word in each.name for word in options.words)
    ]
    if not chosen:
        parser.error("no benchmark has such a name: --list prints them")
    if options.list:
        print("\n".join(f"{each.name}: {each.wanted}" for each in chosen))
        return
    print(describe())
    company = Company()
    for each in chosen:
        if missing := [name for name in each.needs if find_spec(name) is None]:
            print(f"{each.name}: left out, for want of {', '.join(missing)}")
            continue
        case = each.make()
        times = measure(case, options.rounds, cpu_seconds if options.cpu else perf_counter)
        print("\n    ".join(report(each, case, times)), flush=True)
    clock = "CPU seconds" if options.cpu else "seconds on the clock"
    print(f"{options.rounds} repetitions, {clock}; {company.describe()}")
    if company.share() > CROWDED and not options.cpu:
        print("the machine was loaded: these figures are no record of it")
