"""Learned rounding: AdaRound layer by layer, BRECQ block by block, so that every unit returns what it did in float.

Every weight is rounded down, or up: h in [0, 1] says which, softly while it is learned and hard in the end. Units are done
in order, each given what the network quantized so far gives it. Sources: arXiv 2004.10568, 2102.05426.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from emqlang.grammar.diagnostics import error
from emqlang.quant.networks.layers import Layer
from emqlang.quant.networks.tracing import Forward, tensors
from emqlang.quant.ptq.capture import Given, capture_inputs, capture_outputs, guard
from emqlang.quant.ptq.grids import Grid
from emqlang.quant.ptq.quantized import install
from emqlang.quant.ptq.recipe import Procedure
from emqlang.quant.ptq.units import Unit

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
    """How far the work is: iterations done of all, in which unit, and a guess of the time left."""

    unit: str
    done: int
    total: int
    seconds_left: float


Report = Callable[[RoundingProgress], None]
Codes = Mapping[str, Tensor]  # layer -> integers in [0, levels - 1], uint8 (C_out, fan_in)


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
        self.layers = layers
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

    def step(
        self, loss: Callable[[list[Tensor]], Tensor], weight: float, exponent: float | None
    ) -> None:
        """One step down the loss of the soft weights, plus the regularisation; its gradient is written out by hand."""
        with torch.no_grad():
            sigmoid = self.alpha.sigmoid()
            h = sigmoid.mul(ZETA - GAMMA).add_(GAMMA).clamp_(0, 1)
            code = self.floor + h
            flat = code.clamp(self.lowest, self.top).sub_(self.zero).mul_(self.scale)
        flat.requires_grad_()
        (slope,) = torch.autograd.grad(loss(self._shaped(flat)), flat)
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
            layer.name: part.reshape(layer.channels_out, layer.fan_in).to(torch.uint8)
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
            given, targets = self._captured(unit, self.batches[:1])
            rounding = self._soft(unit)
            loss = self._loss(unit, self._guard(unit, given), given[0], targets[0], None)
            rounding.step(loss, self.schedule.weight, 2.0)
            began = time.perf_counter()
            for _ in range(trial):
                rounding.step(loss, self.schedule.weight, 2.0)
            seconds += (time.perf_counter() - began) / trial * self.procedure.iterations
        return seconds

    def _round(self, unit: Unit, generator: torch.Generator, clock: _Clock) -> Codes:
        given, targets = self._captured(unit, self.batches)
        weights = self._fisher(unit) if self.procedure.fisher else None
        rounding = self._soft(unit)
        fresh = self._guard(unit, given)
        order: list[int] = []
        iterations = self.procedure.iterations
        for step in range(iterations):
            order = order or torch.randperm(len(given), generator=generator).tolist()
            i = order.pop()
            weight = None if weights is None else weights[i]
            loss = self._loss(unit, fresh, given[i], targets[i], weight)
            rounding.step(loss, self.schedule.weight, self.schedule.exponent(step, iterations))
            clock.tick(unit.name)
        return rounding.codes()

    def _soft(self, unit: Unit) -> SoftRounding:
        return SoftRounding(
            [self.layers[name] for name in unit.layers], self.grids, self.schedule.rate
        )

    def _captured(self, unit: Unit, batches: Sequence[Any]) -> tuple[list[Given], list[Tensor]]:
        """What the unit is given in the quantized network, and what it returns in the float one. Raises E312."""
        given = capture_inputs(
            self.quantized,
            self.quantized.get_submodule(unit.name),
            unit.calls,
            batches,
            self.forward,
        )
        part = self.original.get_submodule(unit.name)
        targets = capture_outputs(self.original, part, unit.calls, batches, self.forward)
        if not all(bool(target.isfinite().all()) for target in targets):
            raise error(
                "E312",
                f"the float network's output of '{unit.name}' holds values that are not finite",
                "check the images",
            )
        return given, targets

    def _guard(self, unit: Unit, given: Sequence[Given]) -> Callable[[Given], Given]:
        return guard(self.quantized.get_submodule(unit.name), given[0])

    def _loss(
        self,
        unit: Unit,
        fresh: Callable[[Given], Given],
        given: Given,
        target: Tensor,
        weight: Tensor | None,
    ) -> Callable[[list[Tensor]], Tensor]:
        """Squared error of the unit's output: summed over channels, mean over images and places."""
        part = self.quantized.get_submodule(unit.name)
        prefix = len(unit.name) + 1
        names = [f"{name[prefix:]}.weight".lstrip(".") for name in unit.layers]
        linear = self.layers[unit.layers[-1]].type == "Linear"
        channels = target.shape[-1] if linear or target.ndim < 2 else target.shape[1]

        def loss(values: list[Tensor]) -> Tensor:
            args, kwargs = fresh(given)
            output = tensors(
                functional_call(part, dict(zip(names, values, strict=True)), args, kwargs)
            )[0]
            squared = (output - target).square()
            return (squared if weight is None else squared * weight).mean() * channels

        return loss

    def _fisher(self, unit: Unit) -> list[Tensor]:
        """Squared gradient of the KL divergence from float with respect to the unit's output, of mean 1, for every batch."""
        from emqlang.quant.ptq.fisher import output_gradients

        return output_gradients(self.original, self.quantized, unit, self.batches, self.forward)

    def _install(self, codes: Codes) -> None:
        for name, code in codes.items():
            install(self.quantized, self.layers[name], self.grids[name].values(code))


class _Clock:
    """Counts steps, and tells how many are left and how long they will take."""

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
            self.report(
                RoundingProgress(
                    unit, self.done, self.total, share * measured + (1 - share) ** 2 * self.estimate
                )
            )
