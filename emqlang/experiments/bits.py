"""Bits of a network within a budget, by the methods that experiments hold against each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from emqlang.grammar.library import LIBRARY
from emqlang.quant.bits import costs
from emqlang.quant.bits.exact import Ints
from emqlang.quant.bits.menu import Choice, weight_widths
from emqlang.quant.bits.solver import Assignment
from emqlang.quant.bits.uniform import uniform
from emqlang.quant.networks.network import Network
from emqlang.quant.progress import silent
from emqlang.quant.ptq.recipe import Recipe
from emqlang.tasks.assign import Bits, Chooser
from emqlang.tasks.problem import Constraints, Problem
from emqlang.tasks.workbench import WorkbenchOptions

UNIFORM: Final = "uniform"
MISSED: Final = 0.02  # how far below the average that is asked for random bits may stay
DRAWN: Final = 4_096  # configurations at a time, of which those near the average are kept


def chosen(method: str, options: WorkbenchOptions, limits: Constraints) -> Recipe:
    """Bits by a proxy, on as many images as its entry says, or the widest uniform ones that fit.

    With `hold_unmeasured`, groups that a proxy says nothing of have the most bits.

    Raises E405 where no bits meet the budget.
    """
    if method != UNIFORM:
        program = LIBRARY[method]
        return Chooser(options.fitted(program.domain), limits, silent).best(program).recipe
    problem = Chooser(options, limits, silent).problem
    fitting = uniform(problem.menu, problem.allowed, problem.fixed, problem.budgets)
    if not fitting:
        raise problem.impossible()
    return _recipe(problem, options, fitting[-1][1])


def random(
    average: float, count: int, options: WorkbenchOptions, limits: Constraints, seed: int
) -> list[Recipe]:
    """Configurations drawn uniformly from those whose weights have about so many bits."""
    problem = Chooser(options, limits, silent).problem
    rng, widths = np.random.default_rng(seed), np.array(weight_widths(problem.menu))
    shares, kept = _shares(problem.network), list[Sequence[int]]()
    while len(kept) < count:
        drawn: Ints = rng.integers(len(widths), size=(DRAWN, len(shares)))
        below = average - widths[drawn] @ shares
        kept += drawn[(below >= 0) & (below <= MISSED)].tolist()
    return [_recipe(problem, options, choices) for choices in kept[:count]]


def average_bits(recipe: Recipe, network: Network) -> float:
    """Bits of a weight on average, over all layers that are quantized."""
    counts = {layer.name: layer.numel for layer in network.collection.layers}
    bits = recipe.bits
    return float(np.average(list(bits.values()), weights=[counts[name] for name in bits]))


def _shares(network: Network) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Of each group in all weights (groups,)."""
    layers, groups = network.collection.layers, network.collection.groups
    counts = np.array([sum(layers[i].numel for i in group.layers) for group in groups])
    return np.asarray(counts / counts.sum())


def _recipe(problem: Problem, options: WorkbenchOptions, choices: Sequence[int]) -> Recipe:
    assignment = Assignment(tuple(choices), 0.0, "given", 0.0, 0.0)
    return Bits(problem, None, assignment, origin=options.origin).recipe


def float_bytes(network: Network) -> int:
    """The size at 32 bits of what the paper counts: weights, biases and norms of its layers."""
    eight = costs.size(network, [Choice(8)], "emq")
    return 4 * eight.cost((0,) * len(network.collection.groups))
