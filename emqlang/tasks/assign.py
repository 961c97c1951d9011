"""From a proxy and budgets to bits, in the words of the command line: one assignment, the whole front, or a walk along it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from emqlang.grammar.diagnostics import EXIT_NO, EXIT_OK, Diagnostic, error
from emqlang.grammar.program import Program
from emqlang.grammar.text.printer import show
from emqlang.quant.bits.fixed import read_configuration
from emqlang.quant.bits.knapsack import Floats
from emqlang.quant.bits.solver import Assignment
from emqlang.quant.ptq.evaluate import Evaluation, evaluate
from emqlang.quant.ptq.recipe import Proxy, Recipe
from emqlang.quant.ptq.splits import Splits
from emqlang.quant.statistics.subject import Progress
from emqlang.tasks.problem import Front, Problem, Wish
from emqlang.tasks.quantize import Method, Quantization
from emqlang.tasks.walk import Walk, walk
from emqlang.tasks.workbench import Settings, Workbench


@dataclass(frozen=True)
class Bits:
    """One choice a group, and by which proxy; None if they were given by hand."""

    problem: Problem
    program: Program | None
    found: Assignment
    data: str

    exit_status = EXIT_OK

    @property
    def recipe(self) -> Recipe:
        return self.problem.recipe(
            self.found, None if self.program is None else proxy_of(self.program)
        )


@dataclass(frozen=True)
class Sweep:
    """The complete Pareto front of a proxy's score over one quantity."""

    problem: Problem
    program: Program
    front: Front
    data: str

    exit_status = EXIT_OK


@dataclass(frozen=True)
class Walked:
    """The cheapest bits that lose no more than `most`, as `validation` tells; `final` is measured on `reported`.

    `bits` and `final` are None if even the dearest lose more.
    """

    walk: Walk
    front: Front
    most: float
    validation: str
    reported: str
    bits: Bits | None
    final: Evaluation | None

    @property
    def exit_status(self) -> int:
        return EXIT_NO if self.bits is None else EXIT_OK


class Choosing:
    """One network, with a wish, for which bits are chosen."""

    def __init__(self, settings: Settings, wish: Wish, progress: Progress) -> None:
        self.wish, self.progress = wish, progress
        self._first = Workbench(settings, progress)

    @cached_property
    def problem(self) -> Problem:
        return Problem.of(self._first.network, self._first.choices, self.wish)

    @cached_property
    def bench(self) -> Workbench:
        """With a menu that holds what is fixed."""
        return self._first.with_choices(self.problem.menu)

    def given(self, configuration: str) -> tuple[Bits, tuple[Diagnostic, ...]]:
        """Bits of one's own: one a group or layer, or a JSON file. Raises E301, E402."""
        chosen = read_configuration(configuration, self.problem.network.collection)
        menu = tuple(dict.fromkeys((*self.problem.menu, *chosen)))
        problem = Problem.of(self.problem.network, menu, self.wish)
        found = Assignment(tuple(map(problem.menu.index, chosen)), 0.0, "given", 0.0, 0.0)
        return Bits(problem, None, found, ""), ()

    def best(self, program: Program) -> tuple[Bits, tuple[Diagnostic, ...]]:
        """The greatest score within the budgets. Raises E403 without one, E405, E501."""
        if not self.wish.limits:
            raise error(
                "E403",
                "there is no budget",
                "give --size, --bops, --latency or --avg-bits; or --sweep",
            )
        scores, data, notices = self._scores(program)
        return Bits(self.problem, program, self.problem.solve(scores), data), notices

    def sweep(self, program: Program, over: str | None) -> tuple[Sweep, tuple[Diagnostic, ...]]:
        """The front over one quantity, up to its limit if it has one. Raises E403, E405, E501."""
        scores, data, notices = self._scores(program)
        return Sweep(
            self.problem, program, self.problem.front(scores, self._over(over)), data
        ), notices

    def walk(
        self, program: Program, over: str | None, most: float, test: str | None, method: Method
    ) -> tuple[Walked, tuple[Diagnostic, ...]]:
        """The cheapest bits on the front that lose at most `most`, a share, of accuracy or agreement."""
        swept, notices = self.sweep(program, over)
        settings = self._first.settings
        network = self.problem.network
        splits = Splits.of(network, settings.data, test, method.calib_images, settings.seed)
        validation, reported = splits.halves(settings.seed)
        quantization = Quantization(
            network, validation, replace(method, check=False), self.progress
        )
        done = walk(
            self.problem,
            swept.front,
            quantization,
            most,
            lambda step, steps: self.progress("walk", step, steps),
        )
        bits = final = None
        if done.best is not None:
            bits = Bits(self.problem, program, done.best.assignment, swept.data)
            quantized = quantization.run(bits.recipe).quantized
            final = evaluate(quantized.module, reported.test, reference=network.module)
        return Walked(
            done, swept.front, most, validation.test.source, reported.test.source, bits, final
        ), notices

    def _over(self, over: str | None) -> str:
        return over or next(iter(self.wish.limits), "size")

    def _scores(self, program: Program) -> tuple[Floats, str, tuple[Diagnostic, ...]]:
        done = self.bench.evaluate([program])
        return (
            self.problem.scores(done.scored[0].table),
            done.data,
            (*program.warnings, *done.diagnostics),
        )


def proxy_of(program: Program) -> Proxy:
    """What a recipe says of the proxy."""
    return Proxy(show(program.elaborated), program.canonical.digest.hex())
