"""kill -9 at a random moment, and the same command again: the result is an undisturbed run's."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trials import Attack, Result, Verdict, emqlang, killed

SMALL = Path(__file__).parent / "small.py"
NETWORK = (
    "--model",
    f"{SMALL}:network",
    "--data",
    f"{SMALL}:calibration",
    "--test",
    f"{SMALL}:test",
)
KILLS = 3  # at most, in one trial
WITHIN = 0.6  # of the undisturbed time: a run gone on with has less to do, and ends sooner
FINISHED = "E317"  # a result that is whole already is not written again


@dataclass(frozen=True)
class Job:
    """A command that promises to go on where it was stopped.

    again   its arguments when it is run again, after a first start
    result  everything that it leaves behind and that does not tell the time
    """

    first: tuple[str, ...]
    again: tuple[str, ...]
    result: Callable[[Path], Any]


@dataclass(frozen=True)
class Undisturbed:
    folder: Path
    job: Job
    seconds: float
    result: Any


def _rows(query: str) -> Callable[[Path], Any]:
    def read(path: Path) -> Any:
        with sqlite3.connect(path) as connection:
            return connection.execute(query).fetchall()

    return read


def _table(folder: Path) -> Any:
    query = "SELECT run, id, accuracy, loss, agreement, marks FROM measurements ORDER BY run, id"
    return _rows(query)(folder / "out.table")


def _run(folder: Path) -> Any:
    path = folder / "out" / "run.sqlite"
    tables = ("programs", "steps", "populations", "variants")
    return [_rows(f"SELECT * FROM {table} ORDER BY 1, 2")(path) for table in tables]


def _quantized(folder: Path) -> Any:
    from safetensors.numpy import load_file

    arrays = load_file(folder / "out" / "model.safetensors")
    recipe = json.loads((folder / "out" / "recipe.json").read_text())
    return {name: array.tobytes() for name, array in sorted(arrays.items())}, recipe


BUILD = ("bench", "build", *NETWORK, "--rows", "40", "--calib-images", "64", "--out", "out.table")
SEARCH = ("evolve", "--seed", "5", "--evals", "1200", "--table", "resnet18-fmnist-all")
RESUME = ("evolve", "--resume", "out", "--evals", "1200")
QUANTIZE = (
    "quantize", *NETWORK, "--config", "3", "--rounding", "adaround", "--iters", "400",
    "--calib-images", "64", "--no-check", "--out", "out",
)  # fmt: skip
JOBS = {
    "build": Job(BUILD, BUILD, _table),
    "evolve": Job((*SEARCH, "--out", "out"), RESUME, _run),
    "quantize": Job(QUANTIZE, QUANTIZE, _quantized),
}  # fmt: skip


def _prepare(job: Job) -> Callable[[Path], Undisturbed]:
    def prepare(folder: Path) -> Undisturbed:
        place = folder / "undisturbed"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        emqlang(place, *job.first)  # statistics are cached
        shutil.rmtree(place / "out", ignore_errors=True)
        (place / "out.table").unlink(missing_ok=True)
        began = time.time()
        done = emqlang(place, *job.first)
        if done.status:
            raise RuntimeError(done.err)
        return Undisturbed(folder, job, time.time() - began, job.result(place))

    return prepare


def _trial(shared: Undisturbed, number: int) -> Verdict:
    chance = random.Random(number)
    place = shared.folder / f"trial-{number}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    cached = shared.folder / "undisturbed" / "xdg_cache_home"
    if cached.exists():
        shutil.copytree(cached, place / "xdg_cache_home")
    kills = chance.randint(1, KILLS)
    struck = 0
    for _ in range(kills):
        after = chance.uniform(0, WITHIN * shared.seconds)
        struck += killed(place, _arguments(place, shared.job), after)
    done = _finished(place, shared.job)
    if done.status and FINISHED not in done.err:
        return Verdict(False, f"after {struck} kills: {done.last}")
    same = shared.job.result(place) == shared.result
    shutil.rmtree(place)
    times = f"{struck} kill{'s' * (struck != 1)}"
    return Verdict(same, f"identical after {times}" if same else f"another result after {times}")


def _arguments(place: Path, job: Job) -> tuple[str, ...]:
    begun = (place / "out" / "run.sqlite").exists()  # only a search is gone on with in other words
    return job.again if begun else job.first


def _finished(place: Path, job: Job) -> Result:
    return emqlang(place, *_arguments(place, job))


ATTACKS = tuple(
    Attack(
        f"kill-{name}",
        f"`{' '.join(job.first[:2]) if name == 'build' else name}` killed with SIGKILL at random "
        f"moments, up to {KILLS} times, and run again leaves what an undisturbed run leaves",
        100,
        _prepare(job),
        _trial,
    )
    for name, job in JOBS.items()
)
