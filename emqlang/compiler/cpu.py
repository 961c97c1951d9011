"""Reductions on the CPU: a job for each kind and dtype, its tiles shared out to threads.

Tiles are evaluated in the narrowest type that holds the statistics. What overflows or underflows
there, a tile and a reduction at a time, is evaluated again in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from math import isfinite
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emqlang.compiler.axes import Axes
from emqlang.compiler.form import chain
from emqlang.compiler.kernels import TILE, kernel, narrow, wide
from emqlang.compiler.lower import End, Step, TileProgram, Value, lower
from emqlang.compiler.moments import FOLDS, JOINS, Layers
from emqlang.compiler.statistics import Statistics, on_host
from emqlang.compiler.threads import default_threads
from emqlang.grammar.inputs import INPUTS, Axis, Kind
from emqlang.grammar.ops import INPUT

Array = NDArray[Any]

_FLOAT64: Final = np.dtype(np.float64)
_ALL: Final = ~0  # every reduction, as bits
_LOST: Final = (np.nan, np.nan, np.nan)


class CpuEngine:
    """Reduces statistics in main memory."""

    name = "cpu"

    def __init__(self, statistics: Statistics, axes: Axes, threads: int | None = None) -> None:
        self.statistics, self.axes = statistics, axes
        self.threads = threads or default_threads()

    def reduce(
        self, values: Sequence[Value], scalar: Callable[[Value], Array]
    ) -> dict[Value, Array]:
        """Each reduction's value in every layer. `scalar` gives the layer values they read."""
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
        return on_host(self.statistics.array(name))

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
        shape = len(program.scalars), len(self.statistics.layers)
        scalars = np.array([scalar(value) for value in program.scalars]).reshape(shape)
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


class Tile(NamedTuple):
    """A part of one layer of a flat buffer."""

    layer: int
    start: int
    stop: int


def cut(offsets: Sequence[int]) -> Iterator[Tile]:
    """All layers in tiles of a fixed size; none belongs to two layers."""
    for layer in range(len(offsets) - 1):
        for start in range(offsets[layer], offsets[layer + 1], TILE):
            yield Tile(layer, start, min(start + TILE, offsets[layer + 1]))


class Workspace:
    """The buffers of one thread, allocated on first use and shared by all tiles."""

    def __init__(self) -> None:
        self._buffers: dict[np.dtype[Any], list[Array]] = {}

    def take(self, dtype: np.dtype[Any], number: int, size: int) -> list[Array]:
        buffers = self._buffers.setdefault(dtype, [])
        while len(buffers) < number:
            buffers.append(np.empty(TILE, dtype))
        return buffers[:number] if size == TILE else [buffer[:size] for buffer in buffers[:number]]


class _Instruction(NamedTuple):
    """run(*operands, target). The target of a fold is scratch, and its moments go to `place`."""

    run: Callable[..., Any]
    operands: tuple[int, ...]
    target: int
    place: int | None
    feeds: int


class Job:
    """One tile program over all tiles of a buffer.

    moments  (tiles, reductions, 3); each tile writes its own part, so that threads need no lock
    """

    def __init__(
        self,
        program: TileProgram,
        dtype: np.dtype[Any],
        offsets: Sequence[int],
        views: Sequence[Array],
        scalars: Array,
    ) -> None:
        """`dtype` of the arithmetic, the inputs' flat buffers, and (scalars, layers) in float64."""
        self.program, self.dtype, self.views = program, dtype, views
        self.tiles = tuple(cut(offsets))
        self._code = [self._instruction(step) for step in program.code]
        self.moments = np.zeros((len(self.tiles), len(program.reductions), 3))
        with np.errstate(all="ignore"):
            narrowed = scalars.astype(dtype)
        self._scalars = {dtype: narrowed, _FLOAT64: scalars} if scalars.size else {}
        self._unfit = self._find_unfit(scalars, narrowed, len(offsets) - 1)

    def _instruction(self, step: Step | End) -> _Instruction:
        if isinstance(step, Step):
            return _Instruction(kernel(step.node), step.operands, step.target, None, step.feeds)
        scratch = len(self.program.inputs) + len(self.program.scalars)
        return _Instruction(FOLDS[step.fold], step.operands, scratch, step.place, step.feeds)

    def _find_unfit(self, scalars: Array, narrowed: Array, layers: int) -> list[int]:
        """For each layer, the reductions that read a scalar which `dtype` cannot hold, as bits."""
        vanished = (scalars != 0) & (np.abs(narrowed) < np.finfo(self.dtype).tiny)
        lost = np.isfinite(scalars) & (vanished | ~np.isfinite(narrowed))
        unfit = [0] * layers
        for index, layer in zip(*np.nonzero(lost), strict=True):
            unfit[layer] |= self.program.reads[len(self.views) + int(index)]
        return unfit

    def evaluate(self, index: int, workspace: Workspace) -> None:
        """All reductions of one tile; in effect is `narrow`."""
        if self.dtype == _FLOAT64:
            redo = _ALL
        else:
            redo = self._unfit[self.tiles[index].layer] | self._narrow(index, workspace)
        if redo:
            with wide():
                self._wide(index, workspace, redo)

    def _narrow(self, index: int, workspace: Workspace) -> int:
        """Evaluates everything in `dtype`. Returns, as bits, the reductions that it cannot hold."""
        slots = self._slots(self.tiles[index], self.dtype, workspace, _ALL)
        moments = self.moments[index]
        redo = 0
        for run, operands, target, place, feeds in self._code:
            try:
                result = run(*[slots[i] for i in operands], slots[target])
                if place is not None:
                    moments[place] = result
                    if not isfinite(sum(result)):
                        redo |= feeds
            except FloatingPointError:
                redo |= feeds
        return redo

    def _wide(self, index: int, workspace: Workspace, wanted: int) -> None:
        """Evaluates the wanted reductions in float64."""
        slots = self._slots(self.tiles[index], _FLOAT64, workspace, wanted)
        moments = self.moments[index]
        for run, operands, target, place, feeds in self._code:
            if not feeds & wanted:
                continue
            try:
                result = run(*[slots[i] for i in operands], slots[target])
            except FloatingPointError:  # inf - inf and the like: a kernel has written its NaN
                result = _LOST
            if place is not None:
                moments[place] = result

    def _slots(
        self, tile: Tile, dtype: np.dtype[Any], workspace: Workspace, wanted: int
    ) -> list[Any]:
        """Inputs, converted where their type is another; scalars; registers."""
        slots: list[Any] = [view[tile.start : tile.stop] for view in self.views]
        if self._scalars:
            slots += list(self._scalars[dtype][:, tile.layer])
        converted = [
            i
            for i, view in enumerate(self.views)
            if view.dtype != dtype and self.program.reads[i] & wanted
        ]
        registers = self.program.registers
        buffers = workspace.take(dtype, registers + len(converted), tile.stop - tile.start)
        slots += buffers[:registers]
        for i, buffer in zip(converted, buffers[registers:], strict=True):
            np.copyto(buffer, slots[i])
            slots[i] = buffer
        return slots

    def values(self) -> Array:
        """(reductions, layers): the moments of each layer's tiles joined."""
        layers = Layers(
            [tile.layer for tile in self.tiles], [tile.stop - tile.start for tile in self.tiles]
        )
        ops = [reduction.node.op for reduction in self.program.reductions]
        values = np.empty((len(ops), len(layers.starts)))
        with np.errstate(all="ignore"):
            for op, join in JOINS.items():
                rows = [row for row, other in enumerate(ops) if other == op]
                values[rows] = join(layers, *np.moveaxis(self.moments[:, rows], 2, 0)).T
        return values
