"""Reductions on the CPU: jobs by kind and dtype, their tiles shared out to threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from emqlang.compiler.axes import Axes
from emqlang.compiler.form import chain
from emqlang.compiler.job import Job, Workspace
from emqlang.compiler.kernels import narrow
from emqlang.compiler.lower import TileProgram, Value, lower
from emqlang.compiler.statistics import Statistics
from emqlang.grammar.inputs import INPUTS, Axis, Kind
from emqlang.grammar.ops import INPUT

Array = NDArray[Any]


class Tiles:
    """The engine for statistics in main memory."""

    name = "tiles"

    def __init__(self, statistics: Statistics, axes: Axes, threads: int | None = None) -> None:
        self.statistics, self.axes = statistics, axes
        self.threads = threads or torch.get_num_threads()

    def reduce(
        self, values: Sequence[Value], scalar: Callable[[Value], Array]
    ) -> dict[Value, Array]:
        """Each reduction's value in every layer. `scalar` gives the layer values that the chains read."""
        groups: dict[tuple[Kind, np.dtype[Any]], list[Value]] = {}
        for value in values:
            groups.setdefault((value.node.args[0].kind, self._dtype(value)), []).append(value)
        jobs = [
            self._job(kind, dtype, lower(group, self.axes), scalar)
            for (kind, dtype), group in groups.items()
        ]
        _work(jobs, self.threads)
        return {
            value: row
            for job in jobs
            for value, row in zip(job.program.reductions, job.values(), strict=True)
        }

    def _dtype(self, reduction: Value) -> np.dtype[Any]:
        """The widest type that the chain reads, float32 at least."""
        names = {
            str(node.value)
            for node in chain(reduction.node)
            if node.op == INPUT and node.kind is not Kind.LAYER
        }
        return np.result_type(np.float32, *(self._array(name).dtype for name in names))

    def _array(self, name: str) -> Array:
        array: Array = self.statistics.array(name).numpy()
        return array

    def _job(
        self,
        kind: Kind,
        dtype: np.dtype[Any],
        program: TileProgram,
        scalar: Callable[[Value], Array],
    ) -> Job:
        views = []
        for node, row in program.inputs:
            array = self._array(str(node.value))
            views.append(array if INPUTS[str(node.value)].axis is Axis.NONE else array[row])
        layers = len(self.statistics.layers)
        scalars = np.array([scalar(value) for value in program.scalars]).reshape(
            len(program.scalars), layers
        )
        return Job(program, dtype, self.statistics.offsets[kind], views, scalars)


def _work(jobs: Sequence[Job], threads: int) -> None:
    """Every tile of every job on whichever thread is free; the caller's is one of them."""
    tasks = [(job, index) for job in jobs for index in range(len(job.tiles))]
    turn = count()

    def worker() -> None:
        workspace = Workspace()
        with narrow():
            while (task := next(turn)) < len(tasks):
                job, index = tasks[task]
                job.evaluate(index, workspace)

    helpers = min(threads, len(tasks)) - 1
    if helpers <= 0:
        return worker()
    with ThreadPoolExecutor(helpers) as pool:
        futures = [pool.submit(worker) for _ in range(helpers)]
        worker()
        for future in futures:
            future.result()
