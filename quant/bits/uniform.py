"""Uniform bits: one choice for every group that may choose, the plainest answer to a budget."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from msgspec import UNSET
from msgspec.structs import replace

from emqlang.quant.bits import costs
from emqlang.quant.bits.budget import Budget
from emqlang.quant.bits.exact import Bools
from emqlang.quant.bits.menu import Choice, width
from emqlang.quant.networks.network import Network
from emqlang.quant.ptq.recipe import LayerRecipe, Recipe


def uniform(
    menu: Sequence[Choice], allowed: Bools, kept: Collection[int], budgets: Sequence[Budget]
) -> list[tuple[Choice, tuple[int, ...]]]:
    """The single choices that meet every budget, narrowest first, each with its configuration.

    allowed  (groups, choices), of which the groups `kept` have their own one
    Returns none where every group is kept.
    """
    free = [group for group in range(len(allowed)) if group not in kept]
    found: list[tuple[Choice, tuple[int, ...]]] = []
    for column in sorted(range(len(menu)), key=lambda column: width(menu[column])):
        row = np.asarray(allowed.argmax(axis=1))
        row[free] = column
        choices = tuple(int(choice) for choice in row)
        fits = all(budget.cost(choices) <= budget.limit for budget in budgets if budget.limit)
        if free and allowed[free, column].all() and fits:
            found.append((menu[column], choices))
    return found


def uniform_recipe(recipe: Recipe, network: Network) -> Recipe | None:
    """The recipe with the uniform bits that it names; None where it names none.

    Groups that are fixed or held keep their bits.
    """
    beside = None if recipe.solver is None else recipe.solver.uniform
    if beside is UNSET or beside is None:
        return None
    weight_bits, input_bits = beside.widths
    kept = {*(recipe.fixed or ()), *(recipe.held or {})}
    external = costs.external(network)
    layers = dict(recipe.layers)
    for group in network.collection.groups:
        for name in (network.collection.layers[i].name for i in group.layers):
            weight, input = layers[name].weight, layers[name].input
            if group.name in kept or weight is None:
                continue
            if input is not None and input_bits is not None and name not in external:
                input = replace(input, num_bits=input_bits)
            layers[name] = LayerRecipe(replace(weight, num_bits=weight_bits), input)
    return replace(recipe, layers=layers, achieved=beside.achieved, solver=None)
