"""DEAP's typed GP as its documentation has it, over the same statistics, rows and fitness.

A weight value is a list of arrays, one a layer; a layer value is one array (layers,). It needs
`pip install deap`: it is LGPL, and no dependency of ours.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, Final

import numpy as np
from deap import base, creator, gp, tools
from deap.algorithms import varAnd

from emqlang.evolve.arena import Benchmark
from emqlang.evolve.settings import SearchSettings

Array = np.ndarray[Any, np.dtype[np.floating]]
CROSSOVER, MUTATION = 0.5, 0.3


class Weight: ...


class Layer: ...


def search(
    benchmark: Benchmark, names: tuple[str, ...], candidates: int, settings: SearchSettings
) -> tuple[int, float]:
    """How many candidates were scored, and the best fitness."""
    toolbox = _toolbox(benchmark, names, settings)
    random.seed(settings.seed)
    population = [toolbox.individual() for _ in range(settings.population)]
    scored, best = 0, -1.0
    while True:
        for individual in (own for own in population if not own.fitness.valid):
            individual.fitness.values = toolbox.evaluate(individual)
            scored, best = scored + 1, max(best, individual.fitness.values[0])
            if scored == candidates:
                return scored, best
        chosen = tools.selTournament(population, len(population), settings.tournament)
        population = varAnd(chosen, toolbox, CROSSOVER, MUTATION)


def _toolbox(
    benchmark: Benchmark, names: tuple[str, ...], settings: SearchSettings
) -> base.Toolbox:
    primitives = _primitives(benchmark, names)
    creator.create("Fitness", base.Fitness, weights=(1.0,))
    creator.create("Individual", gp.PrimitiveTree, fitness=creator.Fitness)
    toolbox = base.Toolbox()
    toolbox.register("expr", gp.genHalfAndHalf, pset=primitives, min_=1, max_=5, type_=Layer)
    toolbox.register("individual", tools.initIterate, creator.Individual, toolbox.expr)
    toolbox.register("evaluate", _fitness(benchmark, names, primitives))
    toolbox.register("mate", gp.cxOnePoint)
    toolbox.register("expr_mut", gp.genFull, min_=0, max_=2)
    toolbox.register("mutate", gp.mutUniform, expr=toolbox.expr_mut, pset=primitives)
    for name in ("mate", "mutate"):
        toolbox.decorate(name, gp.staticLimit(len, settings.max_nodes))
    return toolbox


def _primitives(benchmark: Benchmark, names: tuple[str, ...]) -> gp.PrimitiveSetTyped:
    primitives = gp.PrimitiveSetTyped("main", [Weight] * len(names), Layer)
    primitives.renameArguments(**{f"ARG{i}": name for i, name in enumerate(names)})
    for name, op in UNARY.items():
        primitives.addPrimitive(_each(op), [Weight], Weight, f"{name}_w")
        primitives.addPrimitive(op, [Layer], Layer, f"{name}_l")
    for name, op in BINARY.items():
        primitives.addPrimitive(_pairwise(op), [Weight, Weight], Weight, f"{name}_ww")
        primitives.addPrimitive(_pairwise(op), [Weight, Layer], Weight, f"{name}_wl")
        primitives.addPrimitive(op, [Layer, Layer], Layer, f"{name}_ll")
    for name, op in REDUCTIONS.items():
        primitives.addPrimitive(_reduced(op), [Weight], Layer, name)
    for value in (0.5, 1.0, 2.0, 3.0):
        primitives.addTerminal(
            np.full(len(benchmark.statistics.layers), value),
            Layer,
            f"c{str(value).replace('.', '_')}",
        )
    return primitives


def _fitness(
    benchmark: Benchmark, names: tuple[str, ...], primitives: gp.PrimitiveSetTyped
) -> Callable[[Any], tuple[float]]:
    offsets = benchmark.statistics.offsets["weight"]
    values = [
        [benchmark.statistics.array(name).numpy()[a:b] for a, b in pairwise(offsets)]
        for name in names
    ]
    mains = [group.main for group in benchmark.groups]

    def fitness(individual: Any) -> tuple[float]:
        with np.errstate(all="ignore"):
            q = np.broadcast_to(
                gp.compile(individual, primitives)(*values), len(benchmark.statistics.layers)
            )
        scores = q[mains, None] * benchmark.bits
        if not np.isfinite(scores).all():
            return (-1.0,)
        return (abs(float(benchmark.rho(benchmark.totals(scores[None]))[0].mean())),)

    return fitness


def _each(op: Callable[..., object]) -> Callable[..., object]:
    return lambda x: [op(own) for own in x]


def _pairwise(op: Callable[..., object]) -> Callable[..., object]:
    return lambda x, y: [op(own, other) for own, other in zip(x, y, strict=True)]


def _reduced(op: Callable[..., object]) -> Callable[..., object]:
    return lambda x: np.array([op(own) for own in x])


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


Ops = Mapping[str, Callable[..., object]]
UNARY: Final[Ops] = {
    "neg": np.negative,
    "abs": np.abs,
    "sign": np.sign,
    "relu": lambda x: np.maximum(x, 0),
    "sqrt": lambda x: np.sqrt(np.maximum(x, 0)),
    "inv": lambda x: np.where(x == 0, 0, 1 / x),
    "log": lambda x: np.log(np.where(x > 0, x, 1)),
    "exp": np.exp,
    "sigmoid": _sigmoid,
    "square": np.square,
}
BINARY: Final[Ops] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": lambda x, y: x * np.where(y == 0, 0, 1 / y),
}
REDUCTIONS: Final[Ops] = {
    "mean": np.mean,
    "sum": np.sum,
    "std": np.std,
    "var": np.var,
    "min": np.min,
    "max": np.max,
    "l1": lambda x: np.abs(x).sum(),
    "l2": lambda x: np.sqrt(np.square(x).sum()),
}
