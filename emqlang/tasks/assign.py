"""From a proxy and constraints to bits: one assignment, the whole front, or a walk along it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from msgspec import UNSET
from msgspec.structs import replace as replaced

from emqlang.grammar.diagnostics import EXIT_NO, EXIT_OK, Diagnostic, error
from emqlang.grammar.program import Program
from emqlang.quant.bits.configuration import read_configuration
from emqlang.quant.bits.solver import Assignment
from emqlang.quant.networks.network import Network
from emqlang.quant.progress import Progress
from emqlang.quant.ptq.evaluate import Evaluation, Quality, predict
from emqlang.quant.ptq.evaluate import evaluate as measure
from emqlang.quant.ptq.margin import most
from emqlang.quant.ptq.recipe import Origin, Recipe
from emqlang.quant.ptq.splits import Splits
from emqlang.tasks.eval import evaluate
from emqlang.tasks.objective import Objective, objective
from emqlang.tasks.polish import Polish, trials
from emqlang.tasks.polish import polish as polishing
from emqlang.tasks.problem import Constraints, Front, Problem, Uniform
from emqlang.tasks.quantize import Quantization, QuantizeOptions
from emqlang.tasks.workbench import Workbench, WorkbenchOptions


@dataclass(frozen=True)
class Bits:
    """One choice per group, and the proxy that chose them; None if they were given by hand.

    uniform  one choice for all within the same budgets; None if there is none, or no proxy
    polish   what measured exchanges gained, if any were asked for
    data     which images the proxy's statistics were taken on, in words
    origin   where the network came from, for the recipe
    """

    problem: Problem
    program: Program | None
    assignment: Assignment
    uniform: Uniform | None = None
    polish: Polish | None = None
    data: str = ""
    diagnostics: tuple[Diagnostic, ...] = ()
    origin: Origin | None = None

    exit_status = EXIT_OK

    @cached_property
    def recipe(self) -> Recipe:
        beside = UNSET if self.program is None else self.uniform
        recipe = self.problem.recipe(self.assignment, self.program, beside)
        return replaced(recipe, origin=self.origin)


@dataclass(frozen=True)
class Sweep:
    """The Pareto front of a proxy's score over one quantity, complete unless it was searched.

    uniform  each single choice for all groups that may choose, cheapest first, with its cost
    """

    problem: Problem
    program: Program
    front: Front
    uniform: tuple[tuple[int, Uniform], ...]
    data: str
    diagnostics: tuple[Diagnostic, ...]

    exit_status = EXIT_OK

    @property
    def complete(self) -> bool:
        """Whether every point is proven, and none is missing."""
        return all(point.status == "optimal" for _, point in self.front.points)


@dataclass(frozen=True)
class Trial:
    """One point of the front: what it costs, and what its network loses when quantized.

    drop     of accuracy; of agreement with float where there are no labels; the relative error of
             the outputs where there are no classes
    at_most  the upper end of its interval, on as many images as are reported on
    enough   whether that is within the mark
    """

    cost: int
    assignment: Assignment
    drop: float
    at_most: float
    enough: bool


@dataclass(frozen=True)
class Outcome:
    """What the chosen bits come to on images that they were not chosen by, beside float there."""

    evaluation: Evaluation
    quality: Quality


@dataclass(frozen=True)
class Walk:
    """The points of a front that were quantized, and the cheapest that loses at most `max_drop`.

    validation  the half of the images that they were chosen by
    reported    the other half, which `final` is measured on
    images      of each of them, how many
    chosen      None, as `bits` and `final` are, if even the most expensive bits may lose more
    """

    front: Front
    max_drop: float
    trials: tuple[Trial, ...]
    validation: str
    reported: str
    images: tuple[int, int]
    chosen: Trial | None
    bits: Bits | None
    final: Outcome | None
    notices: tuple[Diagnostic, ...]

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """Notices, and W616 if the images that were not chosen by lose more than the mark."""
        final = self.final
        if final is None or final.quality.drop <= self.max_drop:
            return self.notices
        lost = f"{final.quality.drop:.2%} of {final.quality.measure} are lost"
        message = f"{lost} on the images that are reported on, more than {self.max_drop:.2%}"
        help = "give more test images, or a smaller --max-drop"
        return (*self.notices, Diagnostic("W616", message, help=(help,)))

    @property
    def recipe(self) -> Recipe | None:
        return None if self.bits is None else self.bits.recipe

    @property
    def exit_status(self) -> int:
        return EXIT_NO if self.bits is None else EXIT_OK


class Chooser:
    """One network under constraints, for which bits are chosen."""

    def __init__(
        self,
        options: WorkbenchOptions,
        constraints: Constraints,
        progress: Progress,
        workbench: Workbench | None = None,
    ) -> None:
        """`workbench`, where given, has the network that the options name loaded already."""
        self.options, self.constraints, self.progress = options, constraints, progress
        self._workbench = workbench or Workbench(options, progress)

    @property
    def network(self) -> Network:
        return self._workbench.network

    @cached_property
    def problem(self) -> Problem:
        return Problem.of(self.network, self._workbench.choices, self.constraints)

    @cached_property
    def workbench(self) -> Workbench:
        """The network with a menu that holds what is fixed."""
        return self._workbench.with_choices(self.problem.menu)

    def given(self, configuration: str) -> Bits:
        """Bits of one's own: one per group or layer, or a JSON file. Raises E301, E402."""
        chosen = read_configuration(configuration, self.network.collection)
        menu = tuple(dict.fromkeys((*self.problem.menu, *chosen)))
        problem = Problem.of(self.network, menu, self.constraints)
        choices = tuple(map(problem.menu.index, chosen))
        assignment = Assignment(choices, 0.0, "given", 0.0, 0.0)
        warnings, origin = self.network.warnings, self.options.origin
        return Bits(problem, None, assignment, diagnostics=warnings, origin=origin)

    def check_budgets(self, *help: str) -> None:
        """Raises E403 where there is no budget, E405 where the budgets cannot be met."""
        if not self.constraints.limits:
            limits = "give --size, --bops, --latency or --avg-bits"
            raise error("E403", "there is no budget", limits, *help)
        _ = self.problem

    def best(
        self, program: Program, *help: str, polish: int = 0, options: QuantizeOptions | None = None
    ) -> Bits:
        """The greatest score within the budgets, improved by `polish` candidates as measured.

        options  say how many images these are measured on
        Raises E403 without any budget, where `help` says what else there is; E405, E501; to polish,
        E303 and E304 for images that do not do.
        """
        self.check_budgets(*help)
        images, act_bits = (options or QuantizeOptions()).calib_images, self.constraints.act_bits
        measured = trials(self._workbench, act_bits, images) if polish else None
        found, data, warnings = self._scored(program)
        best, gained, origin = found.solve(), None, self.options.origin
        if measured is not None:
            best, gained = polishing(found, best, measured, polish, self.progress)
        return Bits(found.problem, program, best, found.uniform(), gained, data, warnings, origin)

    def sweep(self, program: Program, over: str | None) -> Sweep:
        """The front over one quantity, up to its limit if it has one. Raises E403, E405, E501."""
        budget = self.problem.swept(over or next(iter(self.constraints.limits), "size"))
        found, data, warnings = self._scored(program)
        front, beside = found.front(budget), found.all_uniform(budget)
        return Sweep(found.problem, program, front, beside, data, warnings)

    def walk(
        self,
        program: Program,
        over: str | None,
        max_drop: float,
        options: QuantizeOptions,
    ) -> Walk:
        """The cheapest bits that lose at most `max_drop`, a share, of accuracy or agreement.

        They are chosen by one half of the test images, with a margin for what the other half may
        lose more, and that half is reported on.
        """
        _ = self.problem  # E405 comes before any image is looked at, and E304 before any statistic
        given, images = self.options, options.calib_images
        splits = Splits.of(self.network, given.data, given.test, images, given.seed)
        sweep = self.sweep(program, over)
        validation, reported = splits.halves(given.seed)
        options = replace(options, check=False, uniform=False)
        quantization = Quantization(self.network, validation, options, self.progress)
        signature = self.network.signature
        reference = predict(self.network.module, reported.test, signature=signature)
        counts = quantization.before.images, sum(reference.sizes)
        trials = self._bisect(sweep.front, quantization, max_drop, counts[1])
        chosen = min((t for t in trials if t.enough), key=lambda t: t.cost, default=None)
        bits = final = None
        missed: tuple[Diagnostic, ...] = ()
        if chosen is not None:
            origin = self.options.origin
            fitting = [beside for cost, beside in sweep.uniform if cost <= chosen.cost]
            beside = fitting[-1] if fitting else None
            problem, best = sweep.problem, chosen.assignment
            bits = Bits(problem, program, best, beside, data=sweep.data, origin=origin)
            quantized = quantization.quantize(bits.recipe)
            module, missed = quantized.module, quantized.diagnostics
            after = measure(module, reported.test, reference=reference, signature=signature)
            final = Outcome(after, after.quality(reference.evaluate()))
        return Walk(
            sweep.front,
            max_drop,
            tuple(trials),
            validation.test.source,
            reported.test.source,
            counts,
            chosen,
            bits,
            final,
            (*sweep.diagnostics, *splits.warnings, *missed),
        )

    def _bisect(
        self, front: Front, quantization: Quantization, max_drop: float, others: int
    ) -> list[Trial]:
        """The most expensive point first, then bisection by cost, as if accuracy rose with it.

        others  how many images will be reported on, which a point must be good enough for
        """
        trials: list[Trial] = []
        points = front.points
        steps = 1 + len(points).bit_length()

        def enough(index: int) -> bool:
            cost, assignment = points[index]
            after = quantization.run(self.problem.recipe(assignment)).after
            quality = after.quality(quantization.before)
            at_most = most(after, quality, others)
            trials.append(Trial(cost, assignment, quality.drop, at_most, at_most <= max_drop))
            self.progress("walk", len(trials), steps)
            return trials[-1].enough

        low, high = 0, len(points) - 1
        if not enough(high):
            return trials
        while low < high:  # points[high] loses little enough
            middle = (low + high) // 2
            low, high = (low, middle) if enough(middle) else (middle + 1, high)
        return trials

    def _scored(self, program: Program) -> tuple[Objective, str, tuple[Diagnostic, ...]]:
        """What a proxy says of the problem, the images it was measured on, and every warning."""
        evaluation = evaluate(self.workbench.fitted(program.domain), [program])
        found = objective(self.problem, evaluation.scored[0].table)
        warnings = (*program.warnings, *evaluation.diagnostics, *found.problem.warnings)
        return found, evaluation.data, warnings
