"""The linear relaxation of one budget: where the exact solver starts, and the price of a cost."""

from __future__ import annotations

from emqlang.quant.bits.exact import Bools, Floats, Ints, Numbers


def relax(
    values: Floats | Numbers, costs: Ints, allowed: Bools, limit: int
) -> tuple[float, tuple[int, ...]]:
    """The linear relaxation's price of one unit of cost, and a feasible solution.

    The solution takes the relaxation's steps while they fit.
    """
    cheapest, steps = _hull(values, costs, allowed)
    taken = [choice for choice, _ in cheapest]
    left = limit - sum(cost for _, cost in cheapest)
    price, stopped = 0.0, set()
    for slope, g, choice, extra in sorted(steps, key=lambda step: -step[0]):
        if g in stopped or extra > left:
            price = price or slope  # the first step that does not fit sets the price
            stopped.add(g)
        else:
            taken[g], left = choice, left - extra
    return price, tuple(taken)


def _hull(
    values: Floats | Numbers, costs: Ints, allowed: Bools
) -> tuple[list[tuple[int, int]], list[tuple[float, int, int, int]]]:
    """The upper hull of every group's (cost, value) points.

    Returns each group's cheapest choice with its cost, and steps to dearer choices: value per cost,
    group, choice, extra cost.
    """
    cheapest, steps = [], []
    for g, row in enumerate(zip(values.tolist(), costs.tolist(), allowed.tolist(), strict=True)):
        options = [
            (cost, value, choice)
            for choice, (value, cost, free) in enumerate(zip(*row, strict=True))
            if free
        ]
        here = min(options, key=lambda option: (option[0], -option[1]))
        cheapest.append((here[2], here[0]))
        while ahead := [
            option for option in options if option[0] > here[0] and option[1] > here[1]
        ]:
            slope, step = max(
                ((option[1] - here[1]) / (option[0] - here[0]), option) for option in ahead
            )
            steps.append((slope, g, step[2], step[0] - here[0]))
            here = step
    return cheapest, steps
