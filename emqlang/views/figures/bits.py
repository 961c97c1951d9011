"""Figure 6: the weight bits of every layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from emqlang.grammar.diagnostics import error
from emqlang.quant.ptq.recipe import Recipe
from emqlang.views.figures import canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(recipes: Sequence[tuple[str, Recipe]]) -> Figure:
    """A line for each (name, recipe) of one network. Raises E403 for recipes of other layers."""
    first, model = recipes[0][0], recipes[0][1].model.name
    names = list(recipes[0][1].bits)
    for name, recipe in recipes:
        if not recipe.bits or set(recipe.bits) != set(names):
            message = f"'{name}' has other layers than '{first}', or none"
            raise error("E403", message, "draw recipes of one network together")
    width, below = canvas.across(names)
    figure = canvas.sheet(width, 2.6 + below + 0.2 * len(recipes))
    axes = figure.subplots()
    for place, (name, recipe) in enumerate(recipes):
        values = [recipe.bits[layer] for layer in names]
        name = canvas.short(name, 48)
        label = canvas.plain(f"{name}: mean over layers {np.mean(values):.2f}")
        axes.step(range(len(names)), values, where="mid", label=label, **canvas.nested(place))
    canvas.finish(axes, f"{model}: bits of {canvas.count(len(names), 'layer')}", y="weight bits")
    canvas.layers(axes, names)
    axes.set_yticks(sorted({bits for _, recipe in recipes for bits in recipe.bits.values()}))
    canvas.legend(figure, axes)
    return figure
