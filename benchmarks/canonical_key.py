"""Microseconds for one program's canonical key, cold and as an offspring, and for parsing Eq. 5.

    python benchmarks/canonical_key.py

Cold: programs of 15 nodes that this process has not seen, each with an empty table, after a
thousand others. Offspring: one node of each, drawn with a seed, gives way to another statistic or
op of its kind, and the table knows the parent. Each figure is the median over programs, timed
once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from statistics import median, quantiles
from time import perf_counter

from machine import describe

from emqlang.grammar.canonical.form import Table, canonical, key
from emqlang.grammar.expr import Expr, apply, postorder, rebuild, statistic
from emqlang.grammar.files import load_file
from emqlang.grammar.inputs import INPUTS
from emqlang.grammar.kinds import KINDS
from emqlang.grammar.ops import OPS, Class
from emqlang.grammar.program import parse

NODES, ROUNDS, SEED = 15, 20, 0
EQ5 = "log(abs(grad_synflow)) * sqrt(mean(abs(w)))"


def once(work: Callable[[], object]) -> float:
    """Microseconds."""
    start = perf_counter()
    work()
    return 1e6 * (perf_counter() - start)


def offspring(parent: Expr, rng: Random) -> Expr:
    """The parent with one node changed for another of its kind."""
    nodes = [node for node in postorder(parent) if node.op != "literal"]
    old = rng.choice(nodes)
    new = rng.choice(_others(old))
    done: dict[Expr, Expr] = {}
    for node in postorder(parent):
        done[node] = new if node == old else rebuild(node, tuple(done[arg] for arg in node.args))
    return done[parent]


def _others(node: Expr) -> list[Expr]:
    if not node.args:
        return [
            statistic(row.name)
            for row in INPUTS.values()
            if row.kind is node.kind and row.name != node.value
        ]
    kinds = tuple(arg.kind for arg in node.args)
    ops = [
        op for op in OPS.values() if op.cls is Class.ELEMENTWISE and op.name not in ("pow", node.op)
    ]
    found = [apply(op.name, *node.args) for op in ops if KINDS[op.name].get(kinds) is node.kind]
    return found or [node]


def warm_key(parent: Expr, child: Expr) -> float:
    table = Table()
    canonical(parent, table)
    return once(lambda: key(child, table))


def show(title: str, times: Iterable[float], target: float) -> None:
    times = list(times)
    most = quantiles(times, n=10)[-1]
    print(f"{title:28} {median(times):7.1f} us, 90 % under {most:.1f} us (target {target:g})")


def main() -> None:
    proxies = load_file(Path(__file__).parent / "programs.emq").proxies.values()
    programs = [proxy.elaborated for proxy in proxies if proxy.elaborated.size == NODES]
    rng = Random(SEED)
    for proxy in proxies:
        if proxy.elaborated.size != NODES:
            key(proxy.elaborated)
    print(describe())
    print(f"{len(programs)} programs of {NODES} nodes")
    show(
        "canonical key, cold",
        (once(lambda program=program: key(program)) for program in programs),
        50,
    )
    show(
        "canonical key, offspring",
        (warm_key(program, offspring(program, rng)) for program in programs),
        20,
    )
    show("parse Eq. 5", (once(lambda: parse(EQ5)) for _ in range(ROUNDS)), 500)


if __name__ == "__main__":
    main()
