"""The harness of the benchmarks: what it times, in which order, and when it gives no verdict."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from places import ROOT

FOLDER = ROOT / "benchmarks"


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(FOLDER))
    import harness

    yield harness
    for name in ("harness", "machine"):
        sys.modules.pop(name)


def made(harness: Any, heard: list[str], **seconds: float) -> tuple[Any, Any]:
    """A case whose sides take so many seconds by a clock of their own, and that clock."""
    now = [0.0]

    def side(name: str) -> Any:
        def work() -> str:
            heard.append(name)
            now[0] += seconds[name]
            return name

        def before() -> None:
            now[0] += 1000  # which is not timed

        return harness.Side(name, work, before)

    ours, *rivals = [side(name) for name in seconds if name != "floor"]
    floor = side("floor") if "floor" in seconds else None
    return harness.Case(ours, rivals, floor), lambda: now[0]


def test_sides_alternate_and_only_their_work_is_timed(harness: Any) -> None:
    heard: list[str] = []
    case, clock = made(harness, heard, ours=2.0, slow=8.0, fast=6.0, floor=1.0)
    times = harness.measure(case, 8, clock)
    assert times.of == {"ours": [2.0] * 8, "slow": [8.0] * 8, "fast": [6.0] * 8, "floor": [1.0] * 8}
    warm, rounds = heard[:3], [heard[3 + 4 * i : 7 + 4 * i] for i in range(8)]
    assert warm == ["ours", "slow", "fast"]
    assert all(sorted(each) == sorted(times.of) for each in rounds)
    assert [each[0] for each in rounds[:4]] == ["ours", "slow", "fast", "floor"], "each leads once"


def test_the_best_rival_counts_and_the_floor_stands_below(harness: Any) -> None:
    case, clock = made(harness, [], ours=2.0, slow=8.0, fast=6.0, floor=1.0)
    benchmark = harness.Benchmark("work", lambda: case, "at least", 2)
    first, sides, floor, memory = harness.report(benchmark, case, harness.measure(case, 7, clock))
    assert first == "work: 3.00x [3.00, 3.00], at least 2x: met"
    assert sides.startswith("ours 2000.00 ms, slow 8000.00 ms, fast 6000.00 ms")
    assert floor == "2.00x [2.00, 2.00] the floor" and memory.endswith("MB beyond the inputs")


def test_without_rivals_the_figure_is_a_time_per_item(harness: Any) -> None:
    case, clock = made(harness, [], ours=3e-3)
    case = harness.Case(case.ours, per=100)
    benchmark = harness.Benchmark("keys", lambda: case, "at most", 25, " us")
    first, *_ = harness.report(benchmark, case, harness.measure(case, 7, clock))
    assert first == "keys: 30.0 us [30.0, 30.0], at most 25 us: missed"


@pytest.mark.parametrize(
    ("values", "at_least", "at_most"),
    [
        ([6.0] * 11, "met", "missed"),
        ([4.0] * 11, "missed", "met"),
        ([5.0] * 11, "met", "met"),
        ([4.0] * 3 + [6.0] * 8, "no verdict", "no verdict"),
        ([4.0] * 8 + [6.0] * 3, "no verdict", "no verdict"),
        ([4.0] + [6.0] * 10, "met", "missed"),
    ],
)
def test_a_target_within_the_spread_is_neither_met_nor_missed(
    harness: Any, values: list[float], at_least: str, at_most: str
) -> None:
    figure = harness.Figure(values)
    assert figure.verdict("at least", 5.0).startswith(at_least)
    assert figure.verdict("at most", 5.0).startswith(at_most)


def test_results_that_differ_end_a_benchmark(harness: Any) -> None:
    numbers = count()
    sides = [harness.Side(name, lambda: next(numbers)) for name in ("ours", "theirs")]

    def same(ours: int, theirs: int) -> None:
        assert ours == theirs, "they differ"

    with pytest.raises(AssertionError, match="they differ"):
        harness.measure(harness.Case(sides[0], sides[1:], same=same), 7, lambda: 0.0)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(Path(FOLDER, "run.py")), *words]
    return subprocess.run(command, capture_output=True, text=True)


def test_every_benchmark_is_in_the_list() -> None:
    listed = run("--list")
    assert listed.returncode == 0, listed.stderr
    for words in ("Eq. 5 against torch: at least 2x", "parsing Eq. 5: at most 500 us", "PuLP"):
        assert words in listed.stdout


def test_one_is_run_by_a_word_of_its_name() -> None:
    done = run("parsing", "--rounds", "7", "--cpu")
    assert done.returncode == 0, done.stderr
    _, first, *_, last = done.stdout.splitlines()
    assert first.startswith("parsing Eq. 5: ") and "at most 500 us" in first
    assert last.startswith("7 repetitions, CPU seconds; other processes took ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--rounds", "6"), "a spread takes 7 repetitions or more"),
        (("unheard-of",), "no benchmark has such a name"),
    ],
)
def test_too_few_repetitions_and_unknown_names_are_refused(
    words: tuple[str, ...], message: str
) -> None:
    done = run(*words)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr
