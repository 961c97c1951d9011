"""Scores and budgets to bits: what `assign`, `quantize` and `emqlang.assign` share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np

from emqlang import __version__
from emqlang.grammar.diagnostics import error
from emqlang.quant.bits import costs
from emqlang.quant.bits.budget import QUANTITIES, Budget, parse_limit
from emqlang.quant.bits.fixed import Fixed, allowed, extended, parse_fixed
from emqlang.quant.bits.knapsack import Bools, Floats
from emqlang.quant.bits.menu import Choice
from emqlang.quant.bits.solver import Assignment, assign, pareto, sample, shortfalls
from emqlang.quant.networks.network import Network
from emqlang.quant.ptq.quantized import identity
from emqlang.quant.ptq.recipe import LayerRecipe, Proxy, Recipe, Solver, input_scheme, weight_scheme
from emqlang.scores.table import ScoreTable

METHODS = ("exact", "sample")


@dataclass(frozen=True)
class Wish:
    """What the bits must satisfy, in the words of the command line's options.

    limits    quantity -> limit: {'size': '4.5MiB', 'avg-bits': '3'}
    fix       `conv1=8,fc=8`
    act_bits  of every layer's input where the menu does not choose them
    latency   the CSV of per-layer times, if latency is limited
    samples   how many random configurations `method='sample'` draws
    """

    limits: Mapping[str, str] = field(default_factory=dict)
    fix: str = ""
    accounting: str = "full"
    act_bits: int = 8
    latency: str | None = None
    method: str = "exact"
    samples: int = 50_000
    seed: int = 0


@dataclass(frozen=True)
class Front:
    """Undominated assignments with what each costs, cheapest first, in the budget's smallest units."""

    budget: Budget
    points: tuple[tuple[int, Assignment], ...]


@dataclass(frozen=True)
class Problem:
    """A wish over one network: the menu with what is fixed, what each group may take, and the budgets in integers."""

    network: Network
    wish: Wish
    menu: tuple[Choice, ...]
    fixed: Fixed
    allowed: Bools
    budgets: tuple[Budget, ...]

    @classmethod
    def of(cls, network: Network, menu: Sequence[Choice], wish: Wish) -> Problem:
        """Raises E301, E402, E403, E404, E313."""
        joint = menu[0].act_bits is not None
        fixed = parse_fixed(wish.fix, network.collection, joint)
        choices = extended(menu, fixed)
        table = allowed(menu, fixed, len(network.collection.groups))
        free = [group for group in range(len(table)) if group not in fixed]
        budgets = tuple(
            _budget(name, text, network, choices, wish, free) for name, text in wish.limits.items()
        )
        return cls(network, wish, choices, fixed, table, budgets)

    def scores(self, table: ScoreTable) -> Floats:
        """A proxy's scores for this menu: (groups, choices). Raises E402 for a fixed choice that the table lacks."""
        missing = [choice for choice in self.menu if choice not in table.choices]
        if missing:
            raise error(
                "E402",
                f"the score table has no {missing[0]}",
                "score with a menu that holds every fixed choice",
            )
        return table.scores[:, [table.choices.index(choice) for choice in self.menu]]

    def solve(self, scores: Floats) -> Assignment:
        """The best choices. scores: (groups, menu). Raises E405 where the budgets cannot be met, E501 for scores not finite."""
        finite = _finite(scores, self)
        if self.wish.method == "sample":
            rng = np.random.default_rng(self.wish.seed)
            found = sample(finite, self.budgets, self.allowed, self.wish.samples, rng)
        else:
            found = assign(finite, self.budgets, self.allowed)
        if found is None:
            raise error(
                "E405",
                "no choice of bits meets the budget" + "s" * (len(self.budgets) > 1),
                *self._why(),
            )
        return found

    def front(self, scores: Floats, over: str) -> Front:
        """Every undominated (cost, assignment) over one quantity, cheapest first, up to its limit if it has one.

        Raises E403 for a limit on another quantity, or a latency without a table; E405 where nothing is within the limit.
        """
        others = [budget.quantity.option for budget in self.budgets if budget.quantity.name != over]
        if others:
            raise error(
                "E403",
                f"a front over {over} cannot keep {others[0]} as well",
                f"draw it over {others[0].removeprefix('--')}",
            )
        budget = next(iter(self.budgets), None) or self._measure(over)
        points = pareto(_finite(scores, self), budget, self.allowed)
        within = [point for point in points if not budget.limit or point[0] <= budget.limit]
        if not within:
            raise error("E405", "no choice of bits meets the budget", *self._why())
        return Front(budget, tuple(within))

    def _measure(self, name: str) -> Budget:
        free = [group for group in range(len(self.allowed)) if group not in self.fixed]
        return _budget(name, None, self.network, self.menu, self.wish, free)

    def achieved(self, choices: Sequence[int]) -> dict[str, int]:
        """What a configuration costs, in smallest units: size, bit operations and average bits, and what is limited."""
        every = {budget.quantity.name: budget for budget in (*self.measures(), *self.budgets)}
        return {name: budget.cost(tuple(choices)) for name, budget in every.items()}

    def measures(self) -> tuple[Budget, ...]:
        """Size, bit operations and average bits of every choice, whether limited or not."""
        return tuple(map(self._measure, ("size", "bops", "avg-bits")))

    def recipe(self, found: Assignment, proxy: Proxy | None) -> Recipe:
        """The recipe of an assignment."""
        layers: dict[str, LayerRecipe] = {}
        for group, choice in zip(self.network.collection.groups, found.choices, strict=True):
            bits = self.menu[choice]
            schemes = LayerRecipe(
                weight_scheme(bits.weight_bits), input_scheme(bits.act_bits or self.wish.act_bits)
            )
            layers |= {self.network.collection.layers[i].name: schemes for i in group.layers}
        return Recipe(
            model=identity(self.network),
            layers={layer.name: layers[layer.name] for layer in self.network.collection.layers},
            proxy=proxy,
            budget=dict(self.wish.limits),
            accounting=self.wish.accounting,
            achieved={name: float(cost) for name, cost in self.achieved(found.choices).items()},
            solver=Solver(
                self.wish.method, found.status, found.gap if np.isfinite(found.gap) else None
            ),
            seed=self.wish.seed,
            versions={
                "emqlang": __version__,
                **{name: version(name) for name in ("torch", "numpy", "scipy")},
            },
        )

    def _why(self) -> list[str]:
        """For every budget, the least it can be; and whether releasing what is fixed would do."""
        lines = []
        for gap in shortfalls(self.budgets, self.allowed):
            budget = gap.budget
            line = f"{budget.quantity.name} is {budget.show(gap.alone)} at least, {budget.show(budget.limit)} are allowed"
            if len(self.budgets) > 1 and gap.alone <= budget.limit:
                held = (
                    "cannot be met at all"
                    if gap.held is None
                    else f"leave {budget.show(gap.held)} at least"
                )
                line = f"{budget.quantity.name} could be {budget.show(gap.alone)} alone, but the other budgets {held}"
            lines.append(line)
        if self.fixed:
            released = allowed(self.menu, {}, len(self.allowed))
            frees = assign(np.zeros(released.shape), self.budgets, released) is not None
            lines.append(
                "without --fix there is an assignment"
                if frees
                else "releasing --fix would not help"
            )
        return lines


def _budget(
    name: str,
    text: str | None,
    network: Network,
    menu: Sequence[Choice],
    wish: Wish,
    free: Sequence[int],
) -> Budget:
    if name not in QUANTITIES:
        raise error("E403", f"there is no budget '{name}'", f"one of {', '.join(QUANTITIES)}")
    weights = sum(
        network.collection.layers[i].numel
        for group in free
        for i in network.collection.groups[group].layers
    )
    limit = 0 if text is None else parse_limit(name, text, weights)
    if name == "size":
        return costs.size(network, menu, wish.accounting, limit)
    if name == "bops":
        return costs.bops(network, menu, wish.accounting, limit, wish.act_bits)
    if name == "avg-bits":
        return costs.average_bits(network, menu, limit, free)
    if wish.latency is None:
        raise error(
            "E403",
            "a latency budget needs a table",
            "give --latency-table FILE.csv: layer,choice,milliseconds",
        )
    return costs.latency(network, menu, Path(wish.latency), limit)


def _finite(scores: Floats, problem: Problem) -> Floats:
    """Scores with what no group may take set to zero. Raises E501 naming groups whose other scores are not finite."""
    bad = (~np.isfinite(scores) & problem.allowed).any(axis=1)
    if bad.any():
        names = [problem.network.collection.groups[g].name for g in np.flatnonzero(bad)]
        raise error(
            "E501",
            f"the scores of {', '.join(names[:5])} are not finite",
            "choose another proxy, or fix these groups",
        )
    return np.where(problem.allowed, scores, 0.0)
