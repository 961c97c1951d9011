"""The library's proxies: what each is, whence, what it costs, and what it was made for."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any, Final

from emqlang.grammar.expr import inputs
from emqlang.grammar.inputs import Cost, dearest
from emqlang.grammar.library import LIBRARY, RECOMMENDED, SHELVES
from emqlang.grammar.program import Program
from emqlang.grammar.text.printer import show
from emqlang.views import render
from emqlang.views.render import Cell, Column

SENTENCE: Final = re.compile(r".+?[.:](?=\s+[A-Z]|$)")  # the first of a description
TITLES: Final = {
    "paper": "the paper's, and what it compares them with",
    "baselines": "baselines, which say what counting bits and sizes gives",
    "references": "of others since",
    "across_layers": "across layers",
    "evolved": "found by `emqlang evolve`",
}


def screen() -> None:
    """A table for each file of the library; the recommended proxies are marked."""
    columns = [
        Column("proxy", style="bold"),
        Column("what it is", folds=True),
        Column("statistics", style="cyan"),
        Column("images", "right", optional=True),
    ]
    for shelf in SHELVES:
        programs = [LIBRARY[name] for name in LIBRARY if LIBRARY.shelf(name) == shelf]
        if programs:
            render.heading(TITLES[shelf])
            render.text()
            render.table(columns, [_row(program) for program in programs])
            render.text()
    render.note("* where no proxy is named; `emqlang explain NAME` shows one whole")


def record() -> dict[str, Any]:
    """Every proxy whole."""
    return {"schema": "emqlang.library/1", "proxies": [entry(LIBRARY[name]) for name in LIBRARY]}


def entry(program: Program) -> dict[str, Any]:
    """One proxy, as JSON has it."""
    return {
        "name": program.name,
        "shelf": LIBRARY.shelf(program.name),
        "text": program.text,
        "canonical": show(program.canonical),
        "description": program.description,
        "statistics": list(inputs(program.canonical)),
        "cost": str(cost(program)),
        "separable": program.separable,
        "recommended": program.name in RECOMMENDED.values(),
        "made_for": asdict(program.domain) if program.domain else None,
    }


def fields(program: Program) -> list[tuple[str, str]]:
    """One proxy in words."""
    domain = program.domain
    counts = [f"{domain.images:,} images" if domain.images else ""]
    counts += [f"{domain.draws} labels drawn for each" if domain.draws else ""]
    counts += [f"a menu of {domain.menu}" if domain.menu else ""]
    counts += [f"{domain.rounding} rounding" if domain.rounding else ""]
    recommended = program.name in RECOMMENDED.values()
    return [
        ("text", program.text),
        ("canonical", show(program.canonical)),
        ("what it is", program.description),
        ("reads", ", ".join(inputs(program.canonical))),
        ("cost", str(cost(program))),
        ("separates", "yes: a sum over layers" if program.separable else "no: it sees layers meet"),
        ("made for", ", ".join(filter(None, counts))),
        ("searched on", ", ".join(domain.tables)),
        ("chosen", "where no proxy is named" if recommended else ""),
    ]


def cost(program: Program) -> Cost:
    """The class of the most expensive statistic that it reads."""
    return dearest(inputs(program.canonical))


def _row(program: Program) -> list[Cell]:
    mark = " *" if program.name in RECOMMENDED.values() else ""
    images = f"{program.domain.images:,}" if program.domain.images else ""
    return [program.name + mark, _first(program), str(cost(program)), images]


def _first(program: Program) -> Cell:
    """The first sentence of its description, and its text."""
    sentence = SENTENCE.match(program.description)
    return (sentence[0].rstrip(":") if sentence else program.description), show(program.expr)
