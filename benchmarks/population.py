"""1,000 random programs at once, and 1,000 offspring one by one with a warm cache, against torch.

    python benchmarks/population.py [--every N]

Statistics are synthetic with ResNet-18's shapes, collected types (grad_synflow float64, the rest
float32) on both sides. The baseline evaluates one program after another as one would write it:
for each layer the ops of torch on that layer's tensors, equal parts of a program once, what no
choice changes once; without the language's protections, so that it does less. It runs every Nth
program of each list, at its best of 1 and 2 threads. Peak memory is this process's.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from generate_programs import READ
from machine import Company, Memory, cores, describe
from synthetic import Synthetic, synthetic

from emqlang.compiler.cache import Cache
from emqlang.compiler.plan import compile
from emqlang.compiler.run import run
from emqlang.grammar.canonical.form import canonical
from emqlang.grammar.expr import Expr, postorder
from emqlang.grammar.files import load_file
from emqlang.grammar.ops import INPUT, LITERAL

HERE = Path(__file__).parent


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


def baseline(programs: Sequence[Expr], statistics: Synthetic) -> float:
    """Seconds a program, at the better of 1 and 2 threads."""
    best = float("inf")
    for threads in (1, 2):
        torch.set_num_threads(threads)
        start = perf_counter()
        for program in programs:
            torch_by_layer(program, statistics)
        seconds = (perf_counter() - start) / len(programs)
        milliseconds = f"{1000 * seconds:.1f} ms per program, over {len(programs)} programs"
        print(f"  torch layer by layer, {threads} threads: {milliseconds}")
        best = min(best, seconds)
    return best


def read(name: str) -> tuple[list[Expr], list[Expr]]:
    """A list's programs: those that warm the cache (`parent...`), and those that are timed."""
    proxies = load_file(HERE / name).proxies
    warm = [proxy.elaborated for key, proxy in proxies.items() if key.startswith("parent")]
    return warm, [
        proxy.elaborated for key, proxy in proxies.items() if not key.startswith("parent")
    ]


def at_once(statistics: Synthetic, every: int) -> None:
    _, programs = read("programs.emq")
    memory = Memory()
    start = perf_counter()
    values = run(compile([canonical(program) for program in programs]), statistics, threads=cores())
    seconds = (perf_counter() - start) / len(programs)
    finite = np.isfinite(values).all(axis=(1, 2)).mean()
    print(f"{len(programs)} random programs at once: {1000 * seconds:.2f} ms per program")
    print(f"  {finite:.0%} finite everywhere")
    print(f"  memory: {memory.grown():.0f} MB above the statistics (target 256 MB)")
    ratio = baseline(programs[::every], statistics) / seconds
    print(f"  ratio to torch at its best: {ratio:.1f}x (target 4x)")


def one_by_one(statistics: Synthetic, every: int) -> None:
    warm, programs = read("offspring.emq")
    cache = Cache()
    run(compile([canonical(program) for program in warm]), statistics, cache)
    cache.hits = cache.misses = 0
    start = perf_counter()
    for program in programs:
        run(compile([canonical(program)]), statistics, cache, threads=cores())
    seconds = (perf_counter() - start) / len(programs)
    share = cache.hits / (cache.hits + cache.misses)
    print(f"{len(programs)} offspring one by one, warm cache: {1000 * seconds:.2f} ms per program")
    print(f"  {share:.0%} of reductions cached")
    ratio = baseline(programs[::every], statistics) / seconds
    print(f"  ratio to torch at its best: {ratio:.1f}x (target 20x)")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--every", type=int, default=5, help="the baseline runs every Nth program")
    every = parser.parse_args().every
    print(describe())
    company = Company()
    statistics = synthetic(READ)
    at_once(statistics, every)
    one_by_one(statistics, every)
    print(company.describe())


if __name__ == "__main__":
    main()
