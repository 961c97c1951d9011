"""One tile program over all tiles of a buffer: its execution on a tile, and the sum over a layer's tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import isfinite
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emqlang.compiler.kernels import FOLDS, TILE, kernel, wide
from emqlang.compiler.lower import End, Step, TileProgram

Array = NDArray[Any]
_FLOAT64 = np.dtype(np.float64)
_LOST = (np.nan, np.nan, np.nan)


class Tile(NamedTuple):
    """Part of one layer of a flat buffer."""

    layer: int
    start: int
    stop: int


def cut(offsets: Sequence[int]) -> Iterator[Tile]:
    """All layers in tiles of a fixed size; none belongs to two layers."""
    for layer in range(len(offsets) - 1):
        for start in range(offsets[layer], offsets[layer + 1], TILE):
            yield Tile(layer, start, min(start + TILE, offsets[layer + 1]))


class Workspace:
    """Buffers of one thread, made when first asked for and used by all tiles."""

    def __init__(self) -> None:
        self._buffers: dict[np.dtype[Any], list[Array]] = {}

    def take(self, dtype: np.dtype[Any], number: int, size: int) -> list[Array]:
        buffers = self._buffers.setdefault(dtype, [])
        while len(buffers) < number:
            buffers.append(np.empty(TILE, dtype))
        return buffers[:number] if size == TILE else [buffer[:size] for buffer in buffers[:number]]


class _Instruction(NamedTuple):
    """run(*operands, target); of a fold the target is scratch, and its moments go to `place`."""

    run: Callable[..., Any]
    operands: tuple[int, ...]
    target: int
    place: int | None
    feeds: int


class Job:
    """`moments` is (tiles, reductions, 3); each tile writes its own part, so that threads need no lock."""

    def __init__(
        self,
        program: TileProgram,
        dtype: np.dtype[Any],
        offsets: Sequence[int],
        views: Sequence[Array],
        scalars: Array,
    ) -> None:
        """`views`: the inputs' flat buffers. `scalars`: (scalars, layers), float64. `dtype`: of the element arithmetic."""
        self.program, self.dtype, self.views = program, dtype, views
        self.tiles = tuple(cut(offsets))
        self._code = [self._instruction(step) for step in program.code]
        self.moments = np.zeros((len(self.tiles), len(program.reductions), 3))
        with np.errstate(all="ignore"):
            narrow = scalars.astype(dtype)
        self._scalars = {dtype: narrow, _FLOAT64: scalars} if scalars.size else {}
        self._unfit = self._find_unfit(scalars, narrow, len(offsets) - 1)

    def _instruction(self, step: Step | End) -> _Instruction:
        if isinstance(step, Step):
            return _Instruction(kernel(step.node), step.operands, step.target, None, step.feeds)
        scratch = len(self.program.inputs) + len(self.program.scalars)
        return _Instruction(FOLDS[step.fold], step.operands, scratch, step.place, step.feeds)

    def _find_unfit(self, scalars: Array, narrow: Array, layers: int) -> list[int]:
        """For each layer, the reductions that read a scalar which the narrow type cannot hold, as bits."""
        vanished = (scalars != 0) & (np.abs(narrow) < np.finfo(self.dtype).tiny)
        unfit = [0] * layers
        for index, layer in zip(
            *np.nonzero(np.isfinite(scalars) & (vanished | ~np.isfinite(narrow))), strict=True
        ):
            unfit[layer] |= self.program.reads[len(self.views) + int(index)]
        return unfit

    def evaluate(self, index: int, workspace: Workspace) -> None:
        """All reductions of one tile: in the narrow type, then in float64 those that it could not hold. Under `narrow`."""
        redo = (
            ~0
            if self.dtype == _FLOAT64
            else self._unfit[self.tiles[index].layer] | self._narrow(index, workspace)
        )
        if redo:
            with wide():
                self._wide(index, workspace, redo)

    def _narrow(self, index: int, workspace: Workspace) -> int:
        """Evaluates everything. Returns the reductions that met an overflow, an underflow or a result that is not finite."""
        slots = self._slots(self.tiles[index], self.dtype, workspace, ~0)
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
                if place is not None:
                    moments[place] = result
            except (
                FloatingPointError
            ):  # inf - inf and the like: a kernel has written its NaN, a fold has no result
                if place is not None:
                    moments[place] = _LOST

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
        buffers = workspace.take(
            dtype, self.program.registers + len(converted), tile.stop - tile.start
        )
        slots += buffers[: self.program.registers]
        for i, buffer in zip(converted, buffers[self.program.registers :], strict=True):
            np.copyto(buffer, slots[i])
            slots[i] = buffer
        return slots

    def values(self) -> Array:
        """(reductions, layers): the moments of a layer's tiles added up in the order of the tiles."""
        layers = np.array([tile.layer for tile in self.tiles])
        sizes = np.array([tile.stop - tile.start for tile in self.tiles], np.float64)
        values = np.empty((len(self.program.reductions), layers[-1] + 1))
        by_op: dict[str, list[int]] = {}
        for index, value in enumerate(self.program.reductions):
            by_op.setdefault(value.node.op, []).append(index)
        with np.errstate(all="ignore"):
            for op, indices in by_op.items():
                pivots, sums, squares = np.moveaxis(self.moments[:, indices], 2, 0)
                values[indices] = _JOINED[op](_Layers(layers, sizes), pivots, sums, squares).T
        return values


class _Layers:
    """Which tiles make up which layer."""

    def __init__(self, layers: Array, sizes: Array) -> None:
        self.layers, self.sizes = layers, sizes[:, None]
        self.starts = np.flatnonzero(np.diff(layers, prepend=-1))
        self.numbers = np.diff(self.starts, append=len(layers))
        self.totals = self.join(np.add, self.sizes)

    def join(self, op: np.ufunc, values: Array) -> Array:
        """(tiles, n) to (layers, n), in the order of the tiles."""
        result = values[self.starts]
        for turn in range(1, int(self.numbers.max())):
            more = self.numbers > turn
            result[more] = op(result[more], values[self.starts[more] + turn])
        return result


def _mean(layers: _Layers, pivots: Array, sums: Array, squares: Array) -> Array:
    """Tiles may have different pivots; the layer's is that of its first tile."""
    first = pivots[layers.starts]
    moved = sums + layers.sizes * (pivots - first[layers.layers])
    return first + layers.join(np.add, moved) / layers.totals


def _var(layers: _Layers, pivots: Array, sums: Array, squares: Array) -> Array:
    """Within the tiles, and between them."""
    within = np.maximum(squares - sums**2 / layers.sizes, 0)
    means = pivots + sums / layers.sizes
    mean = _mean(layers, pivots, sums, squares)
    between = layers.sizes * (means - mean[layers.layers]) ** 2
    return layers.join(np.add, within + between) / layers.totals


_JOINED: dict[str, Callable[[_Layers, Array, Array, Array], Array]] = {
    "mean": _mean,
    "var": _var,
    "min": lambda layers, pivots, sums, squares: layers.join(np.minimum, pivots),
    "max": lambda layers, pivots, sums, squares: layers.join(np.maximum, pivots),
}
