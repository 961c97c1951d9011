"""Random programs at once, and offspring one by one with a warm cache, against torch.

    python benchmarks/population.py

Statistics are synthetic with ResNet-18's shapes, collected types (grad_synflow float64, the rest
float32) on both sides. The baseline evaluates one program after another as one would write it:
for each layer the ops of torch on that layer's tensors, equal parts of a program once, what no
choice changes once; without the language's protections, so that it does less. Both sides run every
twentieth of 1,000 programs, and the first of 1,000 offspring, which follow each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import harness
import numpy as np
import torch
from generate_programs import READ
from harness import Benchmark, Case, Side
from machine import cores, threads
from synthetic import Synthetic, synthetic

from emqlang.compiler.cache import Cache
from emqlang.compiler.plan import compile
from emqlang.compiler.run import run
from emqlang.grammar.canonical.form import canonical
from emqlang.grammar.expr import Expr, postorder
from emqlang.grammar.files import load_file
from emqlang.grammar.ops import INPUT, LITERAL

HERE = Path(__file__).parent
EVERY, OFFSPRING = 20, 20


def _normalize(x: torch.Tensor) -> torch.Tensor:
    return (x - x.mean()) / x.std(unbiased=False)


def _min_max(x: torch.Tensor) -> torch.Tensor:
    return (x - x.min()) / (x.max() - x.min())


TORCH: dict[str, Callable[..., Any]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "neg": torch.neg,
    "abs": torch.abs,
    "sign": torch.sign,
    "relu": torch.relu,
    "inv": torch.reciprocal,
    "sqrt": torch.sqrt,
    "log": torch.log,
    "exp": torch.exp,
    "sigmoid": torch.sigmoid,
    "sum": torch.sum,
    "mean": torch.mean,
    "std": lambda x: torch.std(x, unbiased=False),
    "var": lambda x: torch.var(x, unbiased=False),
    "min": torch.amin,
    "max": torch.amax,
    "l1": lambda x: torch.sum(torch.abs(x)),
    "l2": lambda x: torch.sqrt(torch.sum(x * x)),
    "square": torch.square,
    "normalize": _normalize,
    "min_max": _min_max,
}


def torch_by_layer(program: Expr, statistics: Synthetic) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Values of one program: (choices, layers)."""
    nodes = list(postorder(program))
    values = np.empty((len(statistics.choices), len(statistics.shapes)))
    for layer in range(values.shape[1]):
        done: dict[tuple[Expr, int], Any] = {}
        for choice in range(values.shape[0]):
            for node in nodes:
                key = (node, choice if node.axes else 0)
                if key not in done:
                    args = [done[arg, choice if arg.axes else 0] for arg in node.args]
                    done[key] = _apply(node, args, statistics, layer, choice)
            values[choice, layer] = float(done[program, choice if program.axes else 0])
    return values


def _apply(node: Expr, args: Sequence[Any], statistics: Synthetic, layer: int, choice: int) -> Any:
    if node.op == LITERAL:
        return torch.tensor(node.value, dtype=torch.float64)
    if node.op == INPUT:
        array = statistics.array(str(node.value))
        start, stop = statistics.offsets[node.kind][layer : layer + 2]
        values = (array[choice] if node.axes else array)[start:stop]
        return values if stop - start > 1 else values[0]
    return torch.pow(args[0], node.value) if node.op == "pow" else TORCH[node.op](*args)  # type: ignore[arg-type]


def read(name: str) -> tuple[list[Expr], list[Expr]]:
    """A list's programs: those that warm the cache (`parent...`), and those that are timed."""
    proxies = load_file(HERE / name).proxies
    warm = [proxy.elaborated for key, proxy in proxies.items() if key.startswith("parent")]
    return warm, [
        proxy.elaborated for key, proxy in proxies.items() if not key.startswith("parent")
    ]


def _torch(programs: Sequence[Expr], statistics: Synthetic) -> list[Side]:
    """One program after another, on each number of threads."""

    def work() -> list[np.ndarray[Any, np.dtype[np.float64]]]:
        return [torch_by_layer(program, statistics) for program in programs]

    return [
        Side(f"torch, {threads(count)}", work, partial(torch.set_num_threads, count))
        for count in (1, 2)
    ]


def at_once() -> Case:
    statistics, (_, programs) = synthetic(READ), read("programs.emq")
    programs = programs[::EVERY]

    def ours() -> object:
        return run(compile([canonical(each) for each in programs]), statistics, threads=cores())

    return Case(Side("emqlang", ours), _torch(programs, statistics))


def one_by_one() -> Case:
    statistics, (parents, programs) = synthetic(READ), read("offspring.emq")
    warm, caches = Cache(), list[Cache]()
    run(compile([canonical(each) for each in parents]), statistics, warm)

    def before() -> None:
        """A cache that knows the parents alone."""
        caches[:] = [Cache()]
        for at, value in warm._values.items():
            caches[0].put(at, value)

    def ours() -> None:
        for program in programs[:OFFSPRING]:
            run(compile([canonical(program)]), statistics, caches[0], threads=cores())

    rivals = _torch(programs[:OFFSPRING], statistics)
    return Case(Side("emqlang", ours, before), rivals)


BENCHMARKS = (
    Benchmark("random programs at once, against torch", at_once, "at least", 5),
    Benchmark("offspring one by one, against torch", one_by_one, "at least", 20),
)

if __name__ == "__main__":
    harness.main(BENCHMARKS)
