"""From scores that were measured elsewhere, and constraints, to a choice for every layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np

from emqlang import __version__
from emqlang.grammar.diagnostics import EXIT_OK, Diagnostic, error, nearest
from emqlang.quant.bits.allocation import AllocatedLayer, Allocation, Solution, UniformChoice
from emqlang.quant.bits.budget import QUANTITIES, Budget, Limits, parse_limit
from emqlang.quant.bits.exact import Bools, Floats, added
from emqlang.quant.bits.measured import (
    MeasuredLayer,
    MeasuredScores,
    Measurement,
    Rows,
    parse_columns,
    read_scores,
)
from emqlang.quant.bits.patterns import Groups, fixed, tied
from emqlang.quant.bits.solver import Assignment, assign, pareto, shortfalls, taken, total

STATES: Final = 20_000  # points beyond which a front is not complete, but of evenly spaced budgets
POINTS: Final = 40  # of those
_LARGEST: Final = 2**62  # of a sum of costs
_PER: Final = {"size": 2**20, "bops": 10**9, "latency": 10**6}  # smallest units in a shown one


@dataclass(frozen=True)
class MeasuredOptions(Limits):
    """What the choices must satisfy, as the command line's options.

    fix       `output=Q8_0,blk.0.*=Q6_K`
    tie       `blk.{}.attn_[qkv]`: layers that share a choice
    columns   `name=tensor,loss=kld`: a foreign layout's names
    partial   whether layers may lack choices
    act_bits  of every layer's input, for bit operations
    """

    fix: str = ""
    tie: str = ""
    columns: str = ""
    partial: bool = False
    act_bits: int = 8


@dataclass(frozen=True)
class MeasuredProblem:
    """Layers in groups, what each group may choose, scores (groups, menu), and integer budgets."""

    options: MeasuredOptions
    measured: MeasuredScores
    groups: Groups
    fixed: Mapping[int, str]
    allowed: Bools
    scores: Floats

    @classmethod
    def of(cls, scores: str | Path | Rows, options: MeasuredOptions) -> MeasuredProblem:
        """Raises E301, E321, E402, E403, E404; E405 for budgets that cannot be met; E501."""
        measured = read_scores(scores, parse_columns(options.columns), options.partial)
        names = [layer.name for layer in measured.layers]
        groups = tied(names, options.tie)
        may = [_common(measured, layers) for layers in groups]

        def choice(group: int, word: str) -> str:
            if word in may[group]:
                return word
            message = f"layer '{names[groups[group][0]]}' has no choice '{word}'"
            listed = f"it may choose {', '.join(may[group])}"
            raise error("E402", message, *nearest(word, may[group]), listed)

        given = fixed(names, groups, options.fix, choice, "output=Q8_0")
        allowed = np.array(
            [
                [choice in row and given.get(g, choice) == choice for choice in measured.menu]
                for g, row in enumerate(may)
            ]
        )
        problem = cls(options, measured, groups, given, allowed, _summed(measured, groups, may))
        if problem.budgets and assign(np.zeros(allowed.shape), problem.budgets, allowed) is None:
            plural = "s" * (len(problem.budgets) > 1)
            raise error("E405", f"no choice of bits meets the budget{plural}", *problem._why())
        return problem

    def _why(self) -> list[str]:
        """For every budget, the least it can be; and what is fixed."""
        lines = [gap.sentence for gap in shortfalls(self.budgets, self.allowed)]
        fixed = {g: self.layers(g)[0].name for g in sorted(self.fixed)}
        amounts = taken(self.budgets, self.allowed, fixed)
        return [*lines, f"--fix takes {amounts}"] if amounts else lines

    @property
    def menu(self) -> tuple[str, ...]:
        return self.measured.menu

    def layers(self, group: int) -> list[MeasuredLayer]:
        return [self.measured.layers[i] for i in self.groups[group]]

    @cached_property
    def quantities(self) -> tuple[str, ...]:
        """What the file says enough of to be counted, or limited."""
        layers = self.measured.layers
        cells = [cell for layer in layers for cell in layer.choices.values()]
        absent = {
            "bops": any(layer.macs is None for layer in layers),
            "latency": any(cell.latency is None for cell in cells),
        }
        return tuple(name for name in QUANTITIES if not absent.get(name))

    @cached_property
    def budgets(self) -> tuple[Budget, ...]:
        """What is limited. Raises E403, E404."""
        return tuple(self.budget(name, text) for name, text in self.options.limits.items())

    @cached_property
    def measures(self) -> dict[str, Budget]:
        """What the choices cost in every quantity that the file says enough of."""
        return {name: self._measure(name) for name in self.quantities}

    def budget(self, name: str, text: str | None = None) -> Budget:
        """One of these, under a limit as it is written, 0 for none.

        Raises E403 for a quantity whose column the file lacks, E404.
        """
        if name not in self.measures:
            column = {"bops": "macs"}.get(name, name)
            message = f"a budget of {name} needs the column '{column}', which the scores lack"
            raise error("E403", message, f"they allow {', '.join(self.quantities)}")
        measure = self.measures[name]
        return (
            measure
            if text is None
            else replace(measure, limit=parse_limit(name, text, measure.per))
        )

    def _measure(self, name: str) -> Budget:
        """Costs as integers: average bits over a common denominator. Raises E321."""
        free = [g for g in range(len(self.groups)) if g not in self.fixed]
        weights = max(1, sum(layer.numel for g in free for layer in self.layers(g)))
        costs = self._costs(_COSTS[name](self.options), free if name == "avg-bits" else None)
        scale = math.lcm(*(cost.denominator for row in costs for cost in row))
        whole = [[int(cost * scale) for cost in row] for row in costs]
        if sum(map(max, whole)) >= _LARGEST:
            raise error("E321", f"the {name} of all layers is too large to be added exactly")
        per = _PER.get(name, weights * scale)
        return Budget(QUANTITIES[name], np.array(whole, np.int64), 0, 0, per)

    def _costs(self, cost: Cost, free: Sequence[int] | None) -> list[list[Fraction]]:
        """(groups, menu): what the groups' layers cost together; 0 for groups that do not count."""
        return [
            [
                sum((Fraction(cost(layer, cell)) for layer, cell in pairs), Fraction(0))
                if (pairs := self._cells(g, choice)) and (free is None or g in free)
                else Fraction(0)
                for choice in self.menu
            ]
            for g in range(len(self.groups))
        ]

    def _cells(self, group: int, choice: str) -> list[tuple[MeasuredLayer, Measurement]]:
        """What a group's layers measured of one choice; none if one of them lacks it."""
        layers = self.layers(group)
        if any(choice not in layer.choices for layer in layers):
            return []
        return [(layer, layer.choices[choice]) for layer in layers]

    def achieved(self, choices: Sequence[int]) -> dict[str, float]:
        """What a configuration costs: bytes, bit operations, nanoseconds, bits per weight."""
        costs = {name: budget.cost(tuple(choices)) for name, budget in self.measures.items()}
        return {
            name: cost / self.measures[name].per if name == "avg-bits" else cost
            for name, cost in costs.items()
        }

    def solve(self) -> Assignment:
        """The greatest score within every budget."""
        best = assign(self.scores, self.budgets, self.allowed)
        assert best is not None  # `of` has refused budgets that cannot be met
        return best

    def uniform(self) -> tuple[str, Assignment] | None:
        """The one choice for every group that may choose that scores best within the budgets."""
        free = [g for g in range(len(self.groups)) if g not in self.fixed]
        found = list[tuple[str, Assignment]]()
        for column, choice in enumerate(self.menu):
            row = self.allowed.argmax(axis=1)
            row[free] = column
            choices = tuple(int(place) for place in row)
            fits = all(budget.cost(choices) <= budget.limit for budget in self.budgets)
            if free and self.allowed[free, column].all() and fits:
                score = total(self.scores, choices)
                found.append((choice, Assignment(choices, score, "given", 0.0, 0.0)))
        return max(found, key=lambda beside: beside[1].score, default=None)

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        """W602 if most layers score lower with the most bits than with the fewest."""
        falls = sum(_falls(layer) for layer in self.measured.layers)
        if 2 * falls <= len(self.measured.layers):
            return ()
        message = f"the score falls as bits rise, in {falls} of {len(self.measured.layers)} layers"
        help = "if smaller is better, call the column loss, or give --columns loss=score"
        return (Diagnostic("W602", message, help=(help,)),)


@dataclass(frozen=True)
class MeasuredBits:
    """One choice for every group of layers, and the best uniform choice within the same budgets."""

    problem: MeasuredProblem
    assignment: Assignment
    uniform: tuple[str, Assignment] | None

    exit_status = EXIT_OK

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        return self.problem.warnings

    @cached_property
    def recipe(self) -> Allocation:
        """The choices as a file that exporters read."""
        problem, best, beside = self.problem, self.assignment, self.uniform
        recorded = beside and UniformChoice(
            beside[0], beside[1].score, problem.achieved(beside[1].choices)
        )
        chosen = {
            layer.name: AllocatedLayer(choice, float(layer.choices[choice].bits), layer.numel)
            for g, column in enumerate(best.choices)
            for choice in [problem.menu[column]]
            for layer in problem.layers(g)
        }
        return Allocation(
            {layer.name: chosen[layer.name] for layer in problem.measured.layers},
            scores=problem.measured.source,
            budget=problem.options.limits,
            achieved=problem.achieved(best.choices),
            solver=Solution(best.status, best.gap, best.score, recorded),
            fixed=tuple(layer.name for g in sorted(problem.fixed) for layer in problem.layers(g)),
            versions={"emqlang": __version__},
        )


@dataclass(frozen=True)
class MeasuredFront:
    """Undominated choices over one quantity, cheapest first: all, or those of spaced budgets."""

    problem: MeasuredProblem
    budget: Budget
    points: tuple[tuple[int, Assignment], ...]
    complete: bool

    exit_status = EXIT_OK

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        return self.problem.warnings


def choose(scores: str | Path | Rows, options: MeasuredOptions) -> MeasuredBits:
    """The best choices. Raises E403 without a budget, and what `MeasuredProblem.of` raises."""
    if not options.limits:
        limits = "give --size, --avg-bits, --bops or --latency"
        raise error("E403", "there is no budget", limits, "or --sweep, which needs none")
    problem = MeasuredProblem.of(scores, options)
    return MeasuredBits(problem, problem.solve(), problem.uniform())


def sweep(scores: str | Path | Rows, options: MeasuredOptions, over: str | None) -> MeasuredFront:
    """The front over one quantity, up to its limit if it has one.

    Complete up to 20,000 points; beyond that, the best choices of 40 evenly spaced budgets.
    """
    problem = MeasuredProblem.of(scores, options)
    name = over or next(iter(options.limits), "size")
    if others := [limit for limit in options.limits if limit != name]:
        message = f"a front over {name} cannot keep --{others[0]} as well"
        raise error("E403", message, f"draw it over {others[0]}")
    budget = problem.budget(name, options.limits.get(name))
    points = pareto(problem.scores, budget, problem.allowed, STATES)
    complete = bool(points)
    points = points or _spaced(problem, budget)
    cut = [point for point in points if not budget.limit or point[0] <= budget.limit]
    return MeasuredFront(problem, budget, tuple(cut), complete)


def _spaced(problem: MeasuredProblem, budget: Budget) -> list[tuple[int, Assignment]]:
    """The best choices under limits from the least cost to the most."""
    costs = budget.costs.astype(object)
    least = int(np.where(problem.allowed, costs, costs.max()).min(axis=1).sum())
    most = int(np.where(problem.allowed, costs, 0).max(axis=1).sum())
    most = min(most, budget.limit) if budget.limit else most
    points = dict[int, Assignment]()
    for step in range(POINTS + 1):
        limited = replace(budget, limit=least + (most - least) * step // POINTS)
        best = assign(problem.scores, [limited], problem.allowed)
        if best is not None and all(best.score > point.score for point in points.values()):
            points[budget.cost(best.choices)] = best
    return list(points.items())


Cost = Callable[[MeasuredLayer, Measurement], Fraction | int]
_COSTS: Final[Mapping[str, Callable[[MeasuredOptions], Cost]]] = {
    "size": lambda options: lambda layer, cell: math.ceil(layer.numel * cell.bits / 8),
    "avg-bits": lambda options: lambda layer, cell: layer.numel * cell.bits,
    "bops": lambda options: (
        lambda layer, cell: math.ceil((layer.macs or 0) * cell.bits * options.act_bits)
    ),
    "latency": lambda options: lambda layer, cell: cell.latency or 0,
}


def _common(measured: MeasuredScores, layers: Sequence[int]) -> list[str]:
    """What every one of these layers may choose. Raises E402 where that is nothing."""
    group = [measured.layers[i] for i in layers]
    common = [c for c in measured.menu if all(c in layer.choices for layer in group)]
    if not common:
        names = ", ".join(layer.name for layer in group[:5])
        raise error("E402", f"tied layers have no choice in common: {names}")
    return common


def _summed(measured: MeasuredScores, groups: Groups, may: Sequence[Sequence[str]]) -> Floats:
    """(groups, menu): the sum of the scores of a group's layers. Raises E501 if it overflows."""
    table = np.zeros((len(groups), len(measured.menu)))
    for g, layers in enumerate(groups):
        for choice in may[g]:
            scores = [measured.layers[i].choices[choice].score for i in layers]
            table[g, measured.menu.index(choice)] = added(np.array(scores))
    largest = np.abs(table).max(axis=1)
    if not np.isfinite(largest).all() or not np.isfinite(added(largest)):
        help = "divide them by a constant"
        raise error("E501", "the scores may add up to no finite number", help)
    return table


def _falls(layer: MeasuredLayer) -> bool:
    """Whether the most bits score lower than the fewest."""
    cells = sorted(layer.choices.values(), key=lambda cell: cell.bits)
    return cells[0].bits < cells[-1].bits and cells[-1].score < cells[0].score
