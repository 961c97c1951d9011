"""Learned rounding: AdaRound layer by layer, BRECQ block by block.

Every weight is rounded down, or up, so that every unit returns what it did in float: h in [0, 1]
says which, softly while it is learned and hard in the end. Units are rounded in order, each on what
the network quantized so far gives it. Sources: arXiv 2004.10568, 2102.05426.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from emqlang.grammar.diagnostics import error
from emqlang.quant.networks.layers import Layer
from emqlang.quant.networks.signature import Forward
from emqlang.quant.ptq.capture import Arguments, capture_calls, capture_inputs, shapes
from emqlang.quant.ptq.fisher import output_gradients
from emqlang.quant.ptq.grids import Grid
from emqlang.quant.ptq.part import Part
from emqlang.quant.ptq.quantized import install
from emqlang.quant.ptq.recipe import Procedure
from emqlang.quant.ptq.units import Unit
from emqlang.quant.user_code import foreign

GAMMA, ZETA = -0.1, 1.1  # how far the sigmoid is stretched, so that h reaches 0 and 1
BATCH = 32
REPORT_EVERY = 100


@dataclass(frozen=True)
class Schedule:
    """BRECQ's settings of learned rounding.

    rate    Adam's
    weight  of the regularisation, which is off for the `warmup` share of all iterations
    beta    its exponent, which then falls linearly from the first value to the second
    """

    rate: float = 1e-3
    weight: float = 0.01
    warmup: float = 0.2
    beta: tuple[float, float] = (20.0, 2.0)

    def exponent(self, step: int, iterations: int) -> float | None:
        """The regularisation's exponent at one of the steps; None while it is off."""
        start = self.warmup * iterations
        if step < start:
            return None
        left = 1 - (step - start) / (iterations - start)
        return self.beta[1] + (self.beta[0] - self.beta[1]) * left


SCHEDULE = Schedule()


@dataclass(frozen=True)
class RoundingProgress:
    """How far learned rounding is: iterations done of all, in which unit, and the time left."""

    unit: str
    done: int
    total: int
    seconds_left: float


Report = Callable[[RoundingProgress], None]
Codes = Mapping[str, Tensor]  # layer -> integers in [0, levels - 1] (C_out, fan_in)


class Finished:
    """The codes of the units that are done, from which an interrupted run goes on.

    This one holds them in memory; `emqlang quantize --out` keeps them in a file.
    """

    def __init__(self) -> None:
        self.codes: Codes = {}

    def load(self) -> Codes:
        return self.codes

    def save(self, codes: Codes) -> None:
        self.codes = dict(codes)

    def forget(self) -> None:
        """The whole network is done."""
        self.codes = {}


class SoftRounding:
    """The rounding of one unit's weights while it is learned; all of them in one flat vector."""

    def __init__(self, layers: Sequence[Layer], grids: Mapping[str, Grid], rate: float) -> None:
        self.layers, self.grids = layers, grids
        rows = [layer.rows(layer.weight.detach()) for layer in layers]
        paired = [(grids[layer.name], row) for layer, row in zip(layers, rows, strict=True)]
        self.scale = _flat(grid.scale[:, None].expand_as(row) for grid, row in paired)
        self.zero = _flat(grid.zero_point[:, None].expand_as(row) for grid, row in paired)
        self.lowest = _flat(torch.full_like(row, grid.lowest) for grid, row in paired)
        self.top = _flat(torch.full_like(row, grid.levels - 1) for grid, row in paired)
        steps = _flat(rows) / self.scale
        self.floor = steps.floor() + self.zero
        part = (ZETA - GAMMA) / (steps - steps.floor() - GAMMA) - 1
        self.alpha = nn.Parameter(-part.log())
        self.optimizer = torch.optim.Adam([self.alpha], lr=rate)
        self.steps = 0
        self.moved = False  # whether any step had a gradient

    def step(
        self, loss: Callable[[list[Tensor]], Tensor], weight: float, exponent: float | None
    ) -> None:
        """One step down the loss plus the regularisation, whose gradient is written by hand."""
        with torch.no_grad():
            sigmoid = self.alpha.sigmoid()
            h = sigmoid.mul(ZETA - GAMMA).add_(GAMMA).clamp_(0, 1)
            code = self.floor + h
            flat = code.clamp(self.lowest, self.top).sub_(self.zero).mul_(self.scale)
        flat.requires_grad_()
        with foreign("E308", "running a part of the network", seed=self.steps):
            value = loss(self._shaped(flat))
            if not value.requires_grad:  # routers sent these rows past all of its weights
                return
            (slope,) = torch.autograd.grad(value, flat)
        self.moved = True
        self.steps += 1
        with torch.no_grad():
            slope = slope * self.scale * ((code >= self.lowest) & (code <= self.top))
            if exponent is not None:
                edge = h.mul(2).sub_(1)  # 1 - |edge| ** exponent is the regularisation
                slope -= edge.abs().pow_(exponent - 1).mul_(edge.sign()).mul_(2 * exponent * weight)
            self.alpha.grad = slope * ((h > 0) & (h < 1)) * sigmoid * (1 - sigmoid) * (ZETA - GAMMA)
        self.optimizer.step()

    def codes(self) -> Codes:
        """The weights rounded hard."""
        flat = (self.floor + (self.alpha.detach() >= 0)).clamp_(self.lowest, self.top)
        parts = torch.split(flat, [layer.numel for layer in self.layers])
        return {
            layer.name: part.view(layer.channels_out, layer.fan_in).to(self.grids[layer.name].dtype)
            for layer, part in zip(self.layers, parts, strict=True)
        }

    def _shaped(self, flat: Tensor) -> list[Tensor]:
        parts = torch.split(flat, [layer.numel for layer in self.layers])
        return [
            layer.unrows(part.view(layer.channels_out, layer.fan_in))
            for layer, part in zip(self.layers, parts, strict=True)
        ]


def _flat(parts: Iterator[Tensor] | Sequence[Tensor]) -> Tensor:
    return torch.cat([part.reshape(-1).float() for part in parts])


@dataclass(frozen=True)
class Reconstruction:
    """Learned rounding of one network: a copy's weights are rounded in place.

    original   the float network, which `layers` are of
    quantized  the copy; both run without activation quantizers
    batches    of at most BATCH images each
    routed     layers that the two may give other rows: a unit of such layers alone is rounded on
               what the float network gives it, and without Fisher weights
    """

    original: nn.Module
    quantized: nn.Module
    layers: Mapping[str, Layer]
    grids: Mapping[str, Grid]
    batches: Sequence[Any]
    forward: Forward
    procedure: Procedure
    seed: int
    schedule: Schedule = SCHEDULE
    routed: frozenset[str] = frozenset()

    def run(self, units: Sequence[Unit], finished: Finished, report: Report) -> Codes:
        """Rounds every unit but the finished ones, and saves all codes after each."""
        known = finished.load()
        left = [unit for unit in units if not all(name in known for name in unit.layers)]
        codes = {name: known[name] for unit in units if unit not in left for name in unit.layers}
        self._install(codes)
        clock = _Clock(self.procedure.iterations * len(left), self.estimate(left), report)
        for position, unit in enumerate(units):
            if unit in left:
                generator = torch.Generator().manual_seed(self.seed * 100_003 + position)
                rounded = self._round(unit, generator, clock)
                self._install(rounded)
                codes |= rounded
                finished.save(codes)
        return codes

    def estimate(self, units: Sequence[Unit]) -> float:
        """Seconds that these units will take, from a few steps of each on the first batch."""
        trial = 3
        seconds = 0.0
        for unit in units:
            inputs, targets, _ = self._captured(unit, self.batches[:1])
            if not inputs:  # its first rows come later
                continue
            rounding = self._soft(unit)
            part = Part.of(self.quantized.get_submodule(unit.name), inputs[0])
            loss = self._loss(unit, part, inputs[0], targets[0], None)
            rounding.step(loss, self.schedule.weight, 2.0)
            began = time.perf_counter()
            for _ in range(trial):
                rounding.step(loss, self.schedule.weight, 2.0)
            seconds += (time.perf_counter() - began) / trial * self.procedure.iterations
        return seconds

    def _round(self, unit: Unit, generator: torch.Generator, clock: _Clock) -> Codes:
        inputs, targets, paired = self._captured(unit, self.batches)
        rounding = self._soft(unit)
        if not inputs:  # routers of the quantized network may give it none
            return rounding.codes()
        weights = self._fisher(unit) if self.procedure.fisher and paired else None
        part = Part.of(self.quantized.get_submodule(unit.name), inputs[0])
        order: list[int] = []
        iterations = self.procedure.iterations
        for step in range(iterations):
            order = order or torch.randperm(len(inputs), generator=generator).tolist()
            i = order.pop()
            weight = None if weights is None else weights[i]
            loss = self._loss(unit, part, inputs[i], targets[i], weight)
            rounding.step(loss, self.schedule.weight, self.schedule.exponent(step, iterations))
            clock.tick(unit.name)
        if not rounding.moved:
            message = f"the output of '{unit.name}' has no gradient in its weights"
            raise error("E308", message, "leave out no_grad, or take --rounding nearest")
        return rounding.codes()

    def _soft(self, unit: Unit) -> SoftRounding:
        layers = [self.layers[name] for name in unit.layers]
        return SoftRounding(layers, self.grids, self.schedule.rate)

    def _captured(
        self, unit: Unit, batches: Sequence[Any]
    ) -> tuple[list[Arguments], list[Tensor], bool]:
        """The unit's inputs, its float outputs, and whether the inputs are the quantized network's.

        They are float's where the quantized network gives the unit other rows. Raises E312.
        """
        rounded, exact = (side.get_submodule(unit.name) for side in (self.quantized, self.original))
        paired = not self.routed.issuperset(unit.layers)
        calls = unit.calls if paired else None
        found = capture_calls(self.original, exact, calls, batches, self.forward)
        if paired:
            inputs = capture_inputs(self.quantized, rounded, calls, batches, self.forward)
            paired = [shapes(given) for given in inputs] == [given for given, _ in found]
        if not paired:
            inputs = capture_inputs(self.original, exact, calls, batches, self.forward)
        targets = [target.float() for _, target in found]
        if not all(bool(target.isfinite().all()) for target in targets):
            message = (
                f"the float network's output of '{unit.name}' holds values that are not finite"
            )
            raise error("E312", message, "check the images")
        filled = [i for i, target in enumerate(targets) if target.numel()]
        return [inputs[i] for i in filled], [targets[i] for i in filled], paired

    def _loss(
        self,
        unit: Unit,
        part: Part,
        arguments: Arguments,
        target: Tensor,
        weight: Tensor | None,
    ) -> Callable[[list[Tensor]], Tensor]:
        """Squared error of the unit's output: summed over channels, mean over images and places."""
        prefix = len(unit.name) + 1
        names = [f"{name[prefix:]}.weight".lstrip(".") for name in unit.layers]
        linear = self.layers[unit.layers[-1]].type == "Linear"
        channels = target.shape[-1] if linear or target.ndim < 2 else target.shape[1]

        def loss(values: list[Tensor]) -> Tensor:
            output = part(dict(zip(names, values, strict=True)), arguments)
            squared = (output - target).square()
            return (squared if weight is None else squared * weight).mean() * channels

        return loss

    def _fisher(self, unit: Unit) -> list[Tensor]:
        """How much each element of the unit's output matters, 1 on average, for every batch."""
        return output_gradients(self.original, self.quantized, unit, self.batches, self.forward)

    def _install(self, codes: Codes) -> None:
        for name, code in codes.items():
            install(self.quantized, self.layers[name], self.grids[name].values(code))


class _Clock:
    """Counts steps, and reports how many are left and how long they will take."""

    def __init__(self, total: int, estimate: float, report: Report) -> None:
        self.total, self.estimate, self.report = total, estimate, report
        self.done = 0
        self.began = time.perf_counter()
        report(RoundingProgress("", 0, total, estimate))

    def tick(self, unit: str) -> None:
        self.done += 1
        if self.done % REPORT_EVERY == 0 or self.done == self.total:
            share = self.done / self.total
            measured = (time.perf_counter() - self.began) * (1 - share) / share
            left = share * measured + (1 - share) ** 2 * self.estimate
            self.report(RoundingProgress(unit, self.done, self.total, left))
