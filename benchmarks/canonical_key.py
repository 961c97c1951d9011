"""Microseconds for one program's canonical key, cold and as an offspring, and for parsing Eq. 5.

    python benchmarks/canonical_key.py

Cold: programs of 15 nodes, each with an empty table, in a process that has seen a thousand others
and not these. Offspring: one node of each, drawn with a seed, gives way to another statistic or op
of its kind, and the table knows the parent. A figure is the mean over the programs.
"""

from __future__ import annotations

from functools import partial
from hashlib import blake2b
from pathlib import Path
from random import Random

import harness
from harness import Benchmark, Case, Side

from emqlang.grammar import expr
from emqlang.grammar.canonical import normal
from emqlang.grammar.canonical.form import Table, canonical, key
from emqlang.grammar.expr import Expr, apply, postorder, rebuild, statistic
from emqlang.grammar.files import load_file
from emqlang.grammar.inputs import INPUTS
from emqlang.grammar.kinds import KINDS
from emqlang.grammar.ops import OPS, Class
from emqlang.grammar.program import parse

NODES, PARSED, SEED = 15, 20, 0
EQ5 = "log(abs(grad_synflow)) * sqrt(mean(abs(w)))"


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


def _programs() -> tuple[list[Expr], list[Expr]]:
    """Those of NODES nodes, and all others."""
    proxies = load_file(Path(__file__).parent / "programs.emq").proxies.values()
    elaborated = [proxy.elaborated for proxy in proxies]
    return (
        [program for program in elaborated if program.size == NODES],
        [program for program in elaborated if program.size != NODES],
    )


def _forget(others: list[Expr]) -> None:
    """What this process remembers is what it knows after a thousand other programs."""
    for cached in (expr._literal, normal.scaled, normal._emit_one):
        cached.cache_clear()
    for program in others:
        key(program)


def cold() -> Case:
    programs, others = _programs()
    payload = bytes(34)  # of a node of two operands

    def ours() -> None:
        for program in programs:
            key(program)

    def digests() -> None:
        for _ in range(NODES * len(programs)):
            blake2b(payload, digest_size=16).digest()

    floor = Side("a digest for each node", digests)
    return Case(Side("keys", ours, partial(_forget, others)), floor=floor, per=len(programs))


def of_offspring() -> Case:
    (programs, others), rng = _programs(), Random(SEED)
    children = [offspring(program, rng) for program in programs]
    tables: list[Table] = []

    def before() -> None:
        """A table for each that knows its parent alone."""
        _forget(others)
        tables[:] = [Table() for _ in programs]
        for program, table in zip(programs, tables, strict=True):
            canonical(program, table)

    def ours() -> None:
        for child, table in zip(children, tables, strict=True):
            key(child, table)

    return Case(Side("keys", ours, before), per=len(children))


def parsing() -> Case:
    return Case(Side("parse", lambda: [parse(EQ5) for _ in range(PARSED)]), per=PARSED)


BENCHMARKS = (
    Benchmark("canonical key of 15 nodes, cold", cold, "at most", 60, " us"),
    Benchmark("canonical key of 15 nodes, offspring", of_offspring, "at most", 25, " us"),
    Benchmark("parsing Eq. 5", parsing, "at most", 500, " us"),
)

if __name__ == "__main__":
    harness.main(BENCHMARKS)
