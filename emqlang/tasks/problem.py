"""Scores and budgets to bits: what `assign`, `quantize` and `emqlang.assign` share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import numpy as np
from msgspec import UNSET, UnsetType
from msgspec.structs import replace as replaced

from emqlang import __version__
from emqlang.grammar.diagnostics import Diagnostic, EmqError, error
from emqlang.grammar.program import Program
from emqlang.grammar.text.printer import show
from emqlang.quant.bits import costs
from emqlang.quant.bits.budget import QUANTITIES, Budget, Limits, parse_limit
from emqlang.quant.bits.exact import Bools
from emqlang.quant.bits.fixed import Fixed, allowed, extended, parse_fixed
from emqlang.quant.bits.menu import Choice, width
from emqlang.quant.bits.search import FOUND
from emqlang.quant.bits.solver import NAMED, Assignment, assign, shortfalls, taken
from emqlang.quant.networks.network import Network
from emqlang.quant.ptq import recipe as recipes
from emqlang.quant.ptq.quantized import identity
from emqlang.quant.ptq.recipe import (
    INPUT_BITS,
    LayerRecipe,
    Proxy,
    Recipe,
    Solver,
    input_scheme,
    weight_scheme,
)

POLISHED = "polished"  # the status of bits that a measured loss improved
METHODS = {FOUND: "search", POLISHED: "polish"}  # of statuses that tell the method
LIBRARIES = ("torch", "numpy", "scipy")  # whose versions a recipe records


@dataclass(frozen=True)
class Constraints(Limits):
    """What the bits must satisfy, and how they are searched, as the command line's options.

    latency_table    the CSV of per-layer times, if latency is limited
    fix              `conv1=8,fc=8`
    act_bits         of every layer's input where the menu does not choose them
    samples          how many random configurations `method='sample'` draws
    hold_unmeasured  whether groups that the scores say nothing of get the most bits
    """

    latency_table: str | None = None
    fix: str = ""
    accounting: str = "full"
    act_bits: int = 8
    method: str = "exact"
    samples: int = 50_000
    seed: int = 0
    hold_unmeasured: bool = False


@dataclass(frozen=True)
class Front:
    """Undominated assignments with their costs in the budget's smallest units, cheapest first."""

    budget: Budget
    points: tuple[tuple[int, Assignment], ...]


@dataclass(frozen=True)
class Uniform:
    """One choice for every group that may choose: what the chosen bits are to be better than."""

    choice: Choice
    assignment: Assignment


@dataclass(frozen=True)
class Problem:
    """Constraints on one network: the menu, what each group may take of it, and integer budgets.

    offered  the menu without what only fixed groups may take
    held  groups that get the most bits of the menu since nothing could be measured, and why
    """

    network: Network
    constraints: Constraints
    offered: tuple[Choice, ...]
    menu: tuple[Choice, ...]
    fixed: Fixed
    allowed: Bools
    budgets: tuple[Budget, ...] = ()
    held: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, network: Network, menu: Sequence[Choice], constraints: Constraints) -> Problem:
        """Raises E301, E402, E403, E404, E313; E405 for budgets that cannot be met."""
        fixed = parse_fixed(constraints.fix, network.collection, menu[0].act_bits is not None)
        table = allowed(menu, fixed, len(network.collection.groups))
        unlimited = cls(network, constraints, tuple(menu), extended(menu, fixed), fixed, table)
        budgets = tuple(unlimited.budget(*limit) for limit in constraints.limits.items())
        problem = replace(unlimited, budgets=budgets)
        if not _feasible(problem):
            raise problem.impossible()
        return problem

    def budget(self, name: str, text: str | None = None) -> Budget:
        """What the choices cost in one quantity, under a limit as it is written, 0 for none.

        Raises E301, E313, E403, E404.
        """
        if name not in QUANTITIES:
            raise error("E403", f"there is no budget '{name}'", f"one of {', '.join(QUANTITIES)}")
        net, menu, terms = self.network, self.menu, self.constraints
        groups = net.collection.groups
        free = [group for group in range(len(groups)) if group not in self.fixed]
        weights = sum(net.collection.layers[i].numel for g in free for i in groups[g].layers)
        limit = 0 if text is None else parse_limit(name, text, weights)
        if name == "size":
            return costs.size(net, menu, terms.accounting, limit)
        if name == "bops":
            return costs.bops(net, menu, terms.accounting, limit, terms.act_bits)
        if name == "avg-bits":
            return costs.average_bits(net, menu, limit, free)
        if terms.latency_table is None:
            raise error(
                "E403",
                "a latency budget needs a table",
                "give --latency-table FILE.csv: layer,choice,milliseconds",
            )
        return costs.latency(net, menu, Path(terms.latency_table), limit)

    def holding(self, undecided: Mapping[str, str]) -> Problem:
        """The problem with these groups at the most bits that they may have. Raises E409, E405."""
        names = list(undecided)
        if not self.constraints.hold_unmeasured:
            raise error(
                "E409",
                f"nothing tells which bits suit {_share(undecided, len(self.allowed))}",
                "give them the most bits of the menu: --hold-unmeasured",
                f"or fix them, as '{names[0]}=8'; or choose another proxy, or other data",
            )
        table = self.allowed.copy()
        for row, group in zip(table, self.network.collection.groups, strict=True):
            if group.name in undecided:
                top = max(np.flatnonzero(row), key=lambda column: width(self.menu[column]))
                row[:] = np.arange(len(row)) == top
        problem = replace(self, allowed=table, held=dict(undecided))
        if not _feasible(problem):
            raise problem.impossible()
        return problem

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        """W612 if groups are held."""
        if not self.held:
            return ()
        message = f"held at the most bits of the menu: {_share(self.held, len(self.allowed))}"
        return (Diagnostic("W612", message),)

    def swept(self, over: str) -> Budget:
        """The budget on one quantity, with its limit if it has one, to draw a front over.

        Raises E403 for a limit on another quantity, or a latency without a table.
        """
        others = [budget.quantity.option for budget in self.budgets if budget.quantity.name != over]
        if others:
            raise error(
                "E403",
                f"a front over {over} cannot keep {others[0]} as well",
                f"draw it over {others[0].removeprefix('--')}",
            )
        return next(iter(self.budgets), None) or self.budget(over)

    def achieved(self, choices: Sequence[int]) -> dict[str, int]:
        """What a configuration costs in `measures` and in what is limited, in smallest units."""
        every = {budget.quantity.name: budget for budget in (*self.measures(), *self.budgets)}
        return {name: budget.cost(tuple(choices)) for name, budget in every.items()}

    def measures(self) -> tuple[Budget, ...]:
        """Size, bit operations and average bits of every choice, whether limited or not."""
        return tuple(map(self.budget, ("size", "bops", "avg-bits")))

    @cached_property
    def external(self) -> set[str]:
        """Layers that read the network's own input, which has 8 bits whatever is chosen."""
        return costs.external(self.network)

    def given(self, assignment: Assignment) -> list[Choice]:
        """The bits that each group is given."""
        layers, groups = self.network.collection.layers, self.network.collection.groups
        bits = [self.menu[choice] for choice in assignment.choices]
        for g, group in enumerate(groups):
            outer = all(layers[i].name in self.external for i in group.layers)
            if outer and bits[g].act_bits is not None:
                bits[g] = replace(bits[g], act_bits=INPUT_BITS)
        return bits

    def recipe(
        self,
        assignment: Assignment,
        program: Program | None = None,
        beside: Uniform | UnsetType | None = UNSET,
    ) -> Recipe:
        """The recipe of an assignment, of the program that scored it, if any, and uniform bits."""
        network, terms = self.network, self.constraints
        layers: dict[str, LayerRecipe] = {}
        for group, choice in zip(network.collection.groups, assignment.choices, strict=True):
            bits, weight = self.menu[choice], weight_scheme(self.menu[choice].weight_bits)
            for name in (network.collection.layers[i].name for i in group.layers):
                width = INPUT_BITS if name in self.external else bits.act_bits or terms.act_bits
                layers[name] = LayerRecipe(weight, input_scheme(width))
        achieved = self.achieved(assignment.choices)
        return Recipe(
            model=identity(network),
            layers={layer.name: layers[layer.name] for layer in network.collection.layers},
            proxy=None if program is None else proxy_of(program),
            budget=terms.limits,
            accounting=terms.accounting,
            achieved={name: float(cost) for name, cost in achieved.items()},
            solver=self._solver(assignment, beside),
            fixed=tuple(network.collection.groups[g].name for g in sorted(self.fixed)) or UNSET,
            held=dict(self.held) or UNSET,
            seed=terms.seed,
            versions={"emqlang": __version__, **{name: version(name) for name in LIBRARIES}},
        )

    def _solver(self, assignment: Assignment, beside: Uniform | UnsetType | None) -> Solver:
        method = METHODS.get(assignment.status, self.constraints.method)
        solver = Solver(method, assignment.status, _number(assignment.gap))
        if beside is UNSET:
            return solver
        return replaced(solver, score=_number(assignment.score), uniform=self._recorded(beside))

    def _recorded(self, beside: Uniform | None) -> recipes.Uniform | None:
        if beside is None:
            return None
        costs = self.achieved(beside.assignment.choices)
        achieved = {name: float(cost) for name, cost in costs.items()}
        return recipes.Uniform(str(beside.choice), _number(beside.assignment.score), achieved)

    def impossible(self) -> EmqError:
        budgets = "budget" + "s" * (len(self.budgets) > 1)
        return error("E405", f"no choice of bits meets the {budgets}", *self._why())

    def _why(self) -> list[str]:
        """For every budget, the least it can be; what is fixed or held, and how to release it."""
        groups = self.network.collection.groups
        lines = [gap.sentence for gap in shortfalls(self.budgets, self.allowed)]
        fixed = {g: groups[g].name for g in sorted(self.fixed)}
        held = {g: group.name for g, group in enumerate(groups) if group.name in self.held}
        for option, names in (("--fix", fixed), ("--hold-unmeasured", held)):
            if names and (amounts := taken(self.budgets, self.allowed, names)):
                lines.append(f"{option} takes {amounts}")
        if held:  # without them there is an assignment, or there were no scores yet
            example = f"{next(iter(self.held))}={min(self.offered, key=width)}"
            lines.append(f"held at the most bits: {_share(self.held, len(self.allowed))}")
            return [*lines, f"fix some of them at fewer bits: --fix '{example}'"]
        if fixed:
            helps = "without --fix there is an assignment"
            lines.append(helps if self._released() else "releasing --fix would not help")
        return lines

    def _released(self) -> bool:
        """Whether there is an assignment if nothing is fixed."""
        free = replace(self.constraints, fix="")
        try:
            Problem.of(self.network, self.offered, free)
        except EmqError:
            return False
        return True


def _share(reasons: Mapping[str, str], groups: int) -> str:
    """How many groups these are, the first few by name, and why."""
    names = list(reasons)[:NAMED]
    more = f" and {len(reasons) - NAMED} more" if len(reasons) > NAMED else ""
    why = dict.fromkeys(reasons.values())
    return f"{len(reasons)} of {groups} groups: {', '.join(names)}{more} ({'; '.join(why)})"


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None


def proxy_of(program: Program) -> Proxy:
    """What a recipe records of the program whose scores it adds up."""
    return Proxy(show(program.elaborated), program.canonical.digest.hex())


def _feasible(problem: Problem) -> bool:
    """Whether some choice meets every budget, whatever the scores."""
    if not problem.budgets:
        return True
    return assign(np.zeros(problem.allowed.shape), problem.budgets, problem.allowed) is not None
