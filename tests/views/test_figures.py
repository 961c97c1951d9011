"""Figures can be read: no text is cut off or lies upon another, whatever names and counts are."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pytest
from overlaps import faults

import emqlang as emq
from emqlang.evolve.ledger import Status
from emqlang.evolve.reasons import Reason
from emqlang.grammar.library import LIBRARY
from emqlang.quant.bits.menu import parse_bits, parse_menu
from emqlang.scores.table import ScoreTable
from emqlang.tasks.fronts import Front
from emqlang.tasks.plot import Meetings, met
from emqlang.views.figures import canvas, curves, front, funnel, graph, matrix, scores

LONG = "language_model.decoder.{}.a_projection_of_attention_$x$_with_a_long_name"
PAIRS = "W2A2,W2A4,W2A8,W3A4,W4A4,W4A8,W6A6,W8A8,W8A4,W3A8"


@dataclass(frozen=True)
class Layer:
    name: str
    layers: tuple[int, ...]
    main: int


def scored(count: int, menu: str, spread: float) -> ScoreTable:
    """Scores of so many layers, which differ by so many decades."""
    random = np.random.default_rng(0)
    choices = parse_menu(menu) if "W" in menu else parse_bits(menu)
    names = [LONG.format(i) for i in range(count)]
    groups = tuple(Layer(name, (i,), i) for i, name in enumerate(names))
    values = random.standard_normal((count, len(choices)))
    values *= 10 ** random.uniform(-spread, 0, (count, 1))
    return ScoreTable(tuple(names), choices, groups, "sum", values, None)


@pytest.mark.parametrize("count", [1, 54, 300])
@pytest.mark.parametrize("menu", ["2", PAIRS])
@pytest.mark.parametrize("spread", [0, 8])
def test_scores(count: int, menu: str, spread: float) -> None:
    table = scored(count, menu, spread)
    name = "-(" * 40 + "sum(square(qerr))" + ")" * 40
    figure = scores.draw("a/network.py:of_ones_own", [(name, table), ("short", table)])
    assert faults(figure) == []


@pytest.mark.parametrize("count", [1, 18, 300])
@pytest.mark.parametrize("choices", [1, 3])
def test_matrices(count: int, choices: int) -> None:
    terms = np.random.default_rng(0).standard_normal((count, choices, 9))
    names, menu = tuple(LONG.format(i) for i in range(count)), tuple(["W2", "W3", "W4"][:choices])
    found = Meetings("a_network", "fisher_length", names, menu, {"total(shift)": met(terms)}, 9, ())
    assert faults(matrix.draw(found)) == []


@pytest.mark.parametrize("name", [*LIBRARY])
def test_graphs(name: str) -> None:
    assert faults(graph.draw(LIBRARY[name].elaborated, name)) == []


def test_a_graph_of_a_long_text() -> None:
    program = emq.parse("abs(min(w) - " * 30 + "1.23456789e-300" + ")" * 30)
    assert faults(graph.draw(program.elaborated, program.text)) == []
    assert faults(graph.draw(LIBRARY["bit_sum"].expr, "m" * 300)) == []


@pytest.mark.parametrize("count", [1, 3, 12])
def test_curves(count: int) -> None:
    name = "runs/with a name that is long and says much of what was searched for, and how"
    lines = [(f"{name} {i}", ((10.0, 0.1 * i), (1e6, 0.1 * i + 0.01))) for i in range(count)]
    assert faults(curves.draw(lines, "each on what it was judged on")) == []


def test_funnels() -> None:
    status = Status(3, 10**6, 0.5, 0.4, {reason.value: 10**6 for reason in Reason})
    assert faults(funnel.draw("runs/" + "long" * 40, status)) == []
    alone = Status(0, 1, 0.5, 0.4, {"": 1})
    assert faults(funnel.draw("a", alone)) == []


@pytest.mark.parametrize("count", [1, 2, 5])
def test_fronts(count: int) -> None:
    points = tuple((1e6 + i, -1e-9 * 0.5**i) for i in range(100))
    uniform = {"W2": points[0], "W4": points[50], "W8A8": points[-1]}
    name = "log(abs(grad_synflow)) * sqrt(mean(abs(w)))" * 3
    one = Front(name, "size, MiB", "score", points, uniform)
    assert faults(front.draw([one] * count)) == []
    assert faults(front.draw([Front("a", "nodes", "fitness", ((3.0, 0.5),))])) == []


@pytest.mark.parametrize("table", ["vgg-fmnist-all", "vit-fmnist-edge"])
def test_tables(table: str) -> None:
    proxies = ("bit_sum", "size", "early_first", "-log(numel) * sqrt(numel + 3.5) * 2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", emq.EmqWarning)
        assert faults(emq.load_table(table).plot(*proxies)) == []  # type: ignore[attr-defined]


def test_texts_are_shown_as_they_are() -> None:
    """Neither as mathematics, nor left out of legends."""
    figure = canvas.sheet(4, 3)
    axes = figure.subplots()
    axes.plot([1, 2], label=canvas.plain("_private $x$ \\frac{ $"))
    canvas.finish(axes, "a $b$ \\frac{$")
    canvas.legend(figure, axes)
    assert faults(figure) == []
    (label,) = figure.legends[0].get_texts()
    assert label.get_text().endswith("_private \\$x\\$ \\frac{ \\$")
