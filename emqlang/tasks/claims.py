"""What a recipe claims of itself, compared with what its bits cost on the network."""

from __future__ import annotations

from msgspec.structs import replace

from emqlang.grammar.diagnostics import Diagnostic
from emqlang.quant.bits import costs
from emqlang.quant.bits.menu import Choice
from emqlang.quant.networks.network import Network
from emqlang.quant.ptq.quantized import identity
from emqlang.quant.ptq.recipe import Recipe, check_fits


def believed(recipe: Recipe, network: Network) -> tuple[Recipe, tuple[Diagnostic, ...]]:
    """The recipe; without figures, budget and solver, and with W611, if its bits cost another size.

    Raises E311 for a recipe of another network.
    """
    layers = network.collection.layers
    check_fits(recipe, identity(network), [layer.name for layer in layers])
    costing = _costs(recipe, network)
    claimed = {name: value for name, value in recipe.achieved.items() if name in MEASURED}
    if all(costing.get(name) == value for name, value in claimed.items()):
        return recipe, ()
    plain = replace(recipe, achieved={}, budget={}, solver=None)
    said = " and ".join(f"{name} {value:,.0f}" for name, value in claimed.items())
    message = f"the recipe's figures ({said}) are not those of its bits, and are left out"
    return plain, (Diagnostic("W611", message),)


MEASURED = ("size", "bops")


def _costs(recipe: Recipe, network: Network) -> dict[str, float]:
    """Size and bit operations; nothing for a recipe with layers in float or with a split group."""
    choices: list[Choice] = []
    for group in network.collection.groups:
        entries = {recipe.layers[network.collection.layers[i].name] for i in group.layers}
        entry = entries.pop()
        if entries or entry.weight is None or entry.input is None:
            return {}
        choices.append(Choice(entry.weight.num_bits, entry.input.num_bits))
    menu = tuple(dict.fromkeys(choices))
    places = tuple(map(menu.index, choices))
    size = costs.size(network, menu, recipe.accounting)
    bops = costs.bops(network, menu, recipe.accounting)
    return {"size": size.cost(places), "bops": bops.cost(places)}
