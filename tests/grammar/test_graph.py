"""Graphs of programs: what they keep apart and join; the hash agrees with networkx's rounds."""

from __future__ import annotations

import warnings

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import exprs

from emqlang.grammar import parse
from emqlang.grammar.expr import Expr, apply, rebuild, statistic
from emqlang.grammar.ops import OPS
from emqlang.grammar.proof.graph import isomorphic, to_networkx, wl_hash

SAME = """
w * grad                  ; grad * w
w + grad * hess           ; hess * grad + w
w * grad + grad * w       ; w * grad + w * grad
log(w * 2) - exp(grad)    ; log(2 * w) - exp(grad)
"""
DIFFERENT = """
w * w                     ; w * grad
w * w                     ; w + w
w - grad                  ; grad - w
w / grad                  ; grad / w
w @ grad                  ; grad @ w
w ** 2                    ; w ** 3
w + 1                     ; w + 2
mean(w)                   ; sum(w)
(w + grad) + hess         ; w + (grad + hess)
(w - grad) * (w - grad)   ; (w - grad) * (grad - w)
"""


def pairs(lines: str) -> list[tuple[Expr, Expr]]:
    return [
        (parse(a).expr, parse(b).expr)
        for a, _, b in (line.partition(";") for line in lines.strip().splitlines())
    ]


@pytest.mark.parametrize(("a", "b"), pairs(SAME))
def test_operands_that_may_change_places_do(a: Expr, b: Expr) -> None:
    assert wl_hash(a) == wl_hash(b) and isomorphic(a, b)


@pytest.mark.parametrize(("a", "b"), pairs(DIFFERENT))
def test_different_programs_differ(a: Expr, b: Expr) -> None:
    assert wl_hash(a) != wl_hash(b) and not isomorphic(a, b)


@pytest.mark.parametrize("height", range(1, 12))
def test_no_depth_is_too_deep(height: int) -> None:
    """With a fixed number of rounds these two get one hash from some height on."""

    def tower(leaf: str) -> Expr:
        expr = statistic(leaf)
        for _ in range(height):
            expr = apply("sigmoid", expr)
        return expr

    a = apply("add", apply("log", tower("w")), apply("sqrt", tower("grad")))
    b = apply("add", apply("log", tower("grad")), apply("sqrt", tower("w")))
    assert wl_hash(a) != wl_hash(b)


def test_every_operand_has_a_slot() -> None:
    graph = to_networkx(parse("w * w - 2").expr)
    labels = sorted(label for _, label in graph.nodes(data="label"))
    slots = ["operand", "operand", "operand 1", "operand 2"]
    assert labels == ["2", "mul", *slots, "sub", "w"]


def copied(expr: Expr) -> Expr:
    """The same program out of objects of its own."""
    return rebuild(expr, tuple(map(copied, expr.args))) if expr.args else expr


def turned(expr: Expr) -> Expr:
    """Operands that may change places, changed."""
    args = tuple(map(turned, expr.args))
    return rebuild(expr, args[::-1] if OPS[expr.op].commutative else args) if args else expr


@given(exprs(max_ops=8, max_size=60))
def test_neither_sharing_nor_order_matters(expr: Expr) -> None:
    for same in (copied(expr), turned(expr)):
        assert wl_hash(same) == wl_hash(expr) and isomorphic(same, expr)


@given(
    st.lists(
        exprs(inputs=("w", "grad"), ops=("add", "sub", "neg"), max_ops=4, max_size=12),
        min_size=2,
        max_size=2,
    )
)
@settings(max_examples=300)
def test_networkx_agrees(programs: list[Expr]) -> None:
    a, b = map(to_networkx, programs)
    hashes = [_rounds(graph) for graph in (a, b)]
    assert isomorphic(*programs) == nx.is_isomorphic(
        a, b, node_match=lambda x, y: x["label"] == y["label"]
    )
    assert (wl_hash(programs[0]) == wl_hash(programs[1])) == (hashes[0] == hashes[1])


def _rounds(graph: nx.DiGraph[int]) -> str:
    with warnings.catch_warnings():  # networkx says that its hashes once changed
        warnings.simplefilter("ignore")
        height = nx.dag_longest_path_length(graph)
        return str(nx.weisfeiler_lehman_graph_hash(graph, node_attr="label", iterations=height + 1))


def test_large_symmetric_programs_do_not_hang() -> None:
    a, same, b = (parse(first + "+w" * 2500).expr for first in ("w", "w", "grad"))
    assert isomorphic(a, same) and not isomorphic(a, b)
