"""What a recipe claims of itself, compared with what its bits cost on the network."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import UNSET
from msgspec.structs import replace

from emqlang.grammar.diagnostics import Diagnostic, EmqError
from emqlang.quant.bits import costs
from emqlang.quant.bits.budget import Budget, parse_limit
from emqlang.quant.bits.menu import Choice
from emqlang.quant.bits.uniform import uniform_recipe
from emqlang.quant.networks.network import Network
from emqlang.quant.ptq.quantized import identity
from emqlang.quant.ptq.recipe import Recipe, check_fits

TIMED = "latency"  # a figure that only a table of times gives
OF_INPUTS = "bops"  # a figure that depends on the shape of the input, and says nothing of the bits


def believed(
    recipe: Recipe, network: Network, *, guarded: bool = False
) -> tuple[Recipe, tuple[Diagnostic, ...]]:
    """The recipe with those of its figures that are so, and W611 for others.

    Every figure is computed again from the bits. One that is not theirs, or is above its budget, is
    left out with that budget, and with it what was proven.

    guarded  whether nobody can have edited the recipe: it was made here, or lies under a digest.
             If not, a latency is left out, since no recipe can show it
    Raises E311 for a recipe of another network.
    """
    layers, model = network.collection.layers, identity(network)
    check_fits(recipe, model, [layer.name for layer in layers], network.collection.why_none)
    recipe = replace(recipe, model=model)  # with these weights it is this network, by whatever name
    if not (recipe.achieved or recipe.budget or recipe.solver):
        return recipe, ()
    false = _false(recipe, _costs(recipe, network), guarded)
    if not false:
        return _beside(recipe, network, guarded)
    shown = {name: value for name, value in recipe.achieved.items() if name not in false}
    limits = {name: text for name, text in recipe.budget.items() if name not in false}
    plain = replace(recipe, achieved=shown, budget=limits)
    if false.keys() != {OF_INPUTS} or limits != recipe.budget:
        plain = replace(plain, solver=None, held=UNSET)
    reasons = ", ".join(f"{name} {reason}" for name, reason in false.items())
    message = f"the recipe's figures are not those of its bits ({reasons}), and are left out"
    return plain, (Diagnostic("W611", message),)


def _beside(
    recipe: Recipe, network: Network, guarded: bool
) -> tuple[Recipe, tuple[Diagnostic, ...]]:
    """Without the uniform bits, and with W611, if their figures are not so."""
    uniform = uniform_recipe(recipe, network)
    if uniform is None or recipe.solver is None:
        return recipe, ()
    false = _false(uniform, _costs(uniform, network), guarded)
    if not false:
        return recipe, ()
    plain = replace(recipe, solver=replace(recipe.solver, uniform=UNSET))
    reasons = ", ".join(f"{name} {reason}" for name, reason in false.items())
    message = f"the figures of uniform bits are not theirs ({reasons}), and are left out"
    return plain, (Diagnostic("W611", message),)


def _false(
    recipe: Recipe, costing: Mapping[str, tuple[Budget, int]], guarded: bool
) -> dict[str, str]:
    """Each figure or budget that is not so, and what is."""
    found: dict[str, str] = {}
    for name in {**recipe.achieved, **recipe.budget}:
        value, text = recipe.achieved.get(name), recipe.budget.get(name)
        if name == TIMED:
            if not guarded:
                found[name] = "cannot be computed again"
        elif name not in costing:
            found[name] = "cannot be computed"
        elif value is not None and costing[name][1] != value:
            found[name] = f"{value:,.0f} is {costing[name][1]:,}"
        elif text is not None and not _is_met(name, text, costing):
            found[name] = f"is above its budget of {text}"
    if recipe.solver is not None and "size" not in recipe.achieved:
        found["size"] = "is not said"
    return found


def _is_met(name: str, text: str, costing: Mapping[str, tuple[Budget, int]]) -> bool:
    """Whether what the bits cost is within a budget, as it is written."""
    budget, cost = costing[name]
    try:
        return cost <= parse_limit(name, text, budget.per)
    except EmqError:
        return False


def _costs(recipe: Recipe, network: Network) -> dict[str, tuple[Budget, int]]:
    """Quantity -> its budget and what the bits cost; nothing for float layers or split groups."""
    groups, layers = network.collection.groups, network.collection.layers
    choices, external = list[Choice](), costs.external(network)
    for group in groups:
        names = [layers[i].name for i in group.layers]
        told = [name for name in names if name not in external] or names  # the others' is no choice
        weights = {recipe.layers[name].weight for name in names}
        inputs = {recipe.layers[name].input for name in told}
        weight, read = weights.pop(), inputs.pop()
        if weights or inputs or weight is None or read is None:
            return {}
        choices.append(Choice(weight.num_bits, read.num_bits))
    menu = tuple(dict.fromkeys(choices))
    places = tuple(map(menu.index, choices))
    fixed = () if recipe.fixed is UNSET else recipe.fixed
    free = [index for index, group in enumerate(groups) if group.name not in fixed]
    budgets = (
        costs.size(network, menu, recipe.accounting),
        costs.bops(network, menu, recipe.accounting),
        costs.average_bits(network, menu, free=free),
    )
    return {budget.quantity.name: (budget, budget.cost(places)) for budget in budgets}
