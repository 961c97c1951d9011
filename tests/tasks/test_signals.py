"""Commands that are told to end, or killed, in the middle of their work with workers."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from small_table import options

from emqlang.quant.tables.table import load

SOON = 2.0  # seconds in which workers end after their parent


@pytest.fixture(autouse=True)
def _hangups_end_what_is_started() -> Iterator[None]:
    """Under nohup this process ignores SIGHUP, and so would every process that it starts."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def measured(path: Path) -> int:
    if not path.exists():
        return 0
    with sqlite3.connect(path, timeout=30) as connection:
        return int(connection.execute("SELECT count(*) FROM measurements").fetchone()[0])


@contextmanager
def building(out: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """`bench build` with two more rows measured, and many to go."""
    goal = measured(out) + 2
    arguments = (*options(out.parent, 200), "--menu", "2,3,4,8", *more)
    command = [sys.executable, "-P", "-m", "emqlang", "bench", "build", "--out", str(out)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(
        [*command, *arguments],
        env=os.environ | {"NAP": "0.02"},
        start_new_session=True,
        **pipes,  # type: ignore[call-overload]
    ) as process:
        while process.poll() is None and measured(out) < goal:
            time.sleep(0.01)
        yield process


def children(process: int) -> set[int]:
    """Of a process, and theirs."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == process and fields[0] != "Z":
            found |= {int(status.parent.name)} | children(int(status.parent.name))
    return found


def alive(processes: set[int]) -> set[int]:
    left = set()
    for process in processes:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state != "Z":
            left.add(process)
    return left


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_workers_end_with_their_parent(tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "a.table"
    with building(out, "--workers", "2") as process:
        workers = children(process.pid)
        assert len(workers) >= 2
        process.send_signal(number)
        process.communicate(timeout=30)  # ends only when nobody holds stdout and stderr
        ended = time.monotonic()
        while alive(workers) and time.monotonic() < ended + SOON:
            time.sleep(0.05)
        assert not alive(workers)
    expected = -9 if number is signal.SIGKILL else 128 + number
    assert process.returncode == expected
    done = measured(out)
    assert 2 <= done < 200 and len(load(str(out), partial=True)) == done


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_without_workers_says_how_to_go_on(
    tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "a.table"
    with building(out) as process:
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number and "Traceback" not in err
    assert "the same command goes on" in err
    with building(out) as process:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130 and "of 200 rows are there" in err
