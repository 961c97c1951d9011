"""Tasks here, beside, and on clusters: every one once, whoever does it and whoever dies of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import Emq
from computing_task import ignores_ctrl_c_on_one_thread
from places import SUPPORT
from small_table import options
from worker_tasks import die, die_once, fail, square

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.tables.table import load
from emqlang.tasks.workers import Workers

NUMBERS = [(number,) for number in range(7)]
RAY: dict[str, Any] = {
    "num_cpus": 2,
    "include_dashboard": False,
    "log_to_driver": False,
    "logging_level": "ERROR",
}
SQUARES = [number * number for number in range(7)]


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks are found by name in other processes too."""
    here = str(SUPPORT)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((here, os.environ.get("PYTHONPATH", ""))))
    monkeypatch.syspath_prepend(here)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_task_is_done_once(count: int) -> None:
    assert (
        sorted(Workers(count).run(square, NUMBERS)) == SQUARES
        and list(Workers(count).run(square, [])) == []
    )


def test_in_this_process_they_are_done_in_order_and_one_by_one() -> None:
    results = Workers().run(square, NUMBERS)
    assert next(results) == 0 and list(results) == SQUARES[1:]


@pytest.mark.parametrize("count", [1, 2])
def test_what_a_task_raises_is_raised(count: int) -> None:
    with pytest.raises(ValueError, match="is wrong"):
        list(Workers(count).run(fail, NUMBERS))


def test_a_task_whose_worker_dies_is_done_again(tmp_path: Path) -> None:
    found = Workers(2).run(die_once, [(number, str(tmp_path)) for number in range(7)])
    assert sorted(found) == SQUARES and (tmp_path / "dead").exists()


@pytest.mark.slow
def test_workers_that_keep_dying_are_given_up() -> None:
    with pytest.raises(EmqError) as refused:
        list(Workers(2).run(die, NUMBERS))
    assert refused.value.diagnostics[0].code == "E503" and refused.value.exit_status == 70


def test_workers_ignore_ctrl_c_and_take_one_thread() -> None:
    assert all(Workers(2).run(ignores_ctrl_c_on_one_thread, NUMBERS))


@pytest.fixture(scope="module")
def dask_address() -> Iterator[str]:
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=40
    ) as cluster:
        yield cluster.scheduler_address


@pytest.mark.slow
def test_a_dask_cluster_builds_the_same_table(
    dask_address: str, emq: Emq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", dask_address)
    assert sorted(Workers(2, "dask").run(square, NUMBERS)) == SQUARES
    paths = [tmp_path / f"{name}.table" for name in ("here", "there")]
    for path, backend in zip(paths, ((), ("--backend", "dask", "--workers", "2")), strict=True):
        done = emq("bench", "build", "--out", str(path), *options(tmp_path), *backend)
        assert done.status == 0, done.err
    assert (load(str(paths[0])).right == load(str(paths[1])).right).all()


@pytest.mark.slow
def test_a_ray_cluster_does_the_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setenv("RAY_ADDRESS", "local")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    try:
        try:
            ray.init(**RAY)
        except (
            ray.exceptions.RaySystemError
        ):  # a busy machine may need longer to start it than ray waits
            ray.shutdown()
            ray.init(**RAY)
        assert sorted(Workers(2, "ray").run(square, NUMBERS)) == SQUARES
    finally:
        ray.shutdown()


@pytest.mark.parametrize(
    ("backend", "variable"), [("dask", "DASK_SCHEDULER_ADDRESS"), ("ray", "RAY_ADDRESS")]
)
def test_a_cluster_that_is_not_named_or_not_installed(
    backend: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(EmqError, match=f"no {backend} cluster is named"):
        list(Workers(2, backend).run(square, NUMBERS))
    monkeypatch.setenv(variable, "tcp://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, {"dask": "distributed", "ray": "ray"}[backend], None)
    with pytest.raises(EmqError, match=f"{backend} is not installed") as refused:
        list(Workers(2, backend).run(square, NUMBERS))
    assert refused.value.diagnostics[0].code == "E403"


def test_a_dask_cluster_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    import dask
    import distributed  # noqa: F401 -- its defaults must be there before one is set and restored

    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "tcp://127.0.0.1:1")
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(EmqError, match="does not answer"),
    ):
        list(Workers(2, "dask").run(square, NUMBERS))
