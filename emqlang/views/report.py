"""A page about a search, bits or a table: what screens say, formulas and figures, on its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape
from itertools import pairwise
from typing import Final

from emqlang import __version__
from emqlang.evolve.history import Entry
from emqlang.evolve.ledger import Status
from emqlang.grammar.diagnostics import EmqError
from emqlang.grammar.program import parse
from emqlang.grammar.text.mathml import mathml
from emqlang.quant.ptq.recipe import Recipe, Uniform
from emqlang.tasks.report import RecipeReport, Report, RunReport, TableReport
from emqlang.views import bench, evolve, history, notebook, rank, render
from emqlang.views.page import STYLE, Page
from emqlang.views.render import Column

QUANTITIES: Final = {"size": "bytes", "bops": "bit operations", "latency": "nanoseconds"}
Section = tuple[str, str]  # a title, and HTML
WIDTH, HEIGHT, MARGIN = 640, 220, 44  # of a figure, in its own units
SHEET: Final = """
:root{color-scheme:light dark;--ink:#1b1f24;--paper:#fff;--line:#0072b2}
@media (prefers-color-scheme:dark){:root{--ink:#e6e6e6;--paper:#16181c;--line:#56b4e9}}
body{color:var(--ink);background:var(--paper);max-width:60rem;margin:2rem auto;padding:0 1rem}
h1,h2,nav{font-family:system-ui,sans-serif}h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}
nav a{margin-right:1em}a{color:var(--line)}
svg{max-width:100%;height:auto;font:11px system-ui,sans-serif}svg text{fill:var(--ink)}
svg .axis{stroke:var(--ink);stroke-opacity:.35;fill:none}svg .data{stroke:var(--line);fill:none}
svg rect{fill:var(--line)}
math{font-size:1.05em}td math{white-space:normal}
th button{all:unset;cursor:pointer}th button:focus-visible{outline:2px solid var(--line)}
th[aria-sort=ascending] button::after{content:" ▲"}
th[aria-sort=descending] button::after{content:" ▼"}
"""
SCRIPT: Final = """
for (const table of document.querySelectorAll('table')) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => {
    const button = document.createElement('button');
    button.textContent = head.textContent; head.textContent = ''; head.append(button);
    button.addEventListener('click', () => {
      const down = head.getAttribute('aria-sort') !== 'descending';
      heads.forEach(other => other.removeAttribute('aria-sort'));
      head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
      const key = row => row.cells[column].textContent.trim();
      const number = text => parseFloat(text.replace(/[,−]/g, c => c === ',' ? '' : '-'));
      const rows = [...body.rows].sort((a, b) => {
        const x = number(key(a)), y = number(key(b));
        const order = isNaN(x) || isNaN(y) ? key(a).localeCompare(key(b)) : x - y;
        return down ? -order : order;
      });
      body.append(...rows);
    });
  });
}
"""


def document(report: Report) -> str:
    """The whole page; nothing in it is loaded from elsewhere."""
    sections = [*SECTIONS[type(report)](report)]
    links = "".join(f'<a href="#s{i}">{escape(title)}</a>' for i, (title, _) in enumerate(sections))
    parts = "".join(
        f'<section id="s{i}"><h2>{escape(title)}</h2><div class="emq">{body}</div></section>'
        for i, (title, body) in enumerate(sections)
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width">'
        f"<title>{escape(report.title)}</title><style>{STYLE}{SHEET}</style></head>\n"
        f"<body><h1>{escape(report.title)}</h1><nav>{links}</nav>\n{parts}\n"
        f'<p class="emq"><small>emqlang {__version__}</small></p>'
        f"<script>{SCRIPT}</script></body></html>\n"
    )


def _run(report: RunReport) -> Iterator[Section]:
    result = report.result
    facts, status = result.ledger.facts, result.status
    if status is None:
        yield "So far", "<p>the run has had no step yet</p>"
    else:
        yield from _found(report, status)
    yield "What was searched", _page(lambda: _settings(facts))


def _found(report: RunReport, status: Status) -> Iterator[Section]:
    result = report.result
    yield "The best of each size", _formulas(result.front.entries)
    yield "Their figures", _page(lambda: history.programs(result.front, result.heldout))
    if report.rankings is not None:
        rankings = report.rankings
        yield "Ranks on rows that the search has not seen", _page(lambda: rank.screen(rankings))
    yield "The best fitness so far", curve(report.curve)
    if report.lineage is not None:
        lineage = report.lineage
        yield "Where the best comes from", _page(lambda: history.lineage(lineage))
    yield "What became of all proposals", _page(lambda: evolve.summary(result.ledger, status))


def _settings(facts: dict[str, object]) -> None:
    render.fields([("command", str(facts["command"]))])
    for name in ("judged", "settings"):
        values = facts[name]
        assert isinstance(values, dict)
        rows = [(key, _shown(value)) for key, value in values.items() if value not in ((), [], "")]
        render.table([Column(name, style="bold"), Column("value", folds=True)], rows)


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _formulas(entries: Sequence[Entry]) -> str:
    """A list of what was found, typeset; genes of the paper's search as they stand."""
    items = []
    for entry in entries:
        fitness = "" if entry.fitness is None else f"{entry.fitness:.4f}"
        try:
            formula = mathml(parse(entry.text).expr)
        except EmqError:
            formula = f"<code>{escape(entry.text)}</code>"
        items.append(f"<dt>{entry.nodes} nodes, {fitness}</dt><dd>{formula}</dd>")
    return f"<dl>{''.join(items)}</dl>"


def _recipe(report: RecipeReport) -> Iterator[Section]:
    recipe, network = report.recipe, report.network
    yield "What was chosen", _page(lambda: notebook.recipe(recipe))
    bits = recipe.bits
    numels = {layer.name: layer.numel for layer in network.collection.layers} if network else {}
    yield "Bits of each layer", bars([(name, width) for name, width in bits.items()])
    uniform = recipe.solver.uniform if recipe.solver else None
    if isinstance(uniform, Uniform):
        beside = uniform
        yield "Uniform bits within the same budget", _page(lambda: _uniform(recipe, beside))
    if numels:
        yield "Sizes", _page(lambda: _sizes(bits, numels))
    else:
        yield "Sizes", _page(lambda: render.note("; ".join(d.message for d in report.missing)))


def _uniform(recipe: Recipe, uniform: Uniform) -> None:
    columns = [Column("", style="bold"), Column("chosen", "right")]
    columns += [Column(uniform.choice, "right")]
    rows = [
        (title, f"{recipe.achieved[name]:,.0f}", f"{uniform.achieved[name]:,.0f}")
        for name, title in QUANTITIES.items()
        if name in recipe.achieved and name in uniform.achieved
    ]
    render.table(columns, rows)


def _sizes(bits: dict[str, int], numels: dict[str, int]) -> None:
    columns = [Column("layer", style="bold"), Column("weights", "right"), Column("bits", "right")]
    columns += [Column("bytes", "right"), Column("share", "right")]
    sizes = {name: numels[name] * width / 8 for name, width in bits.items() if name in numels}
    whole = sum(sizes.values()) or 1.0
    rows = [
        (name, f"{numels[name]:,}", str(bits[name]), f"{size:,.0f}", f"{size / whole:.1%}")
        for name, size in sizes.items()
    ]
    render.table(columns, rows)


def _table(report: TableReport) -> Iterator[Section]:
    yield "What it is", _page(lambda: bench.info_screen(report.info))
    yield "The library's ranks", _page(lambda: rank.screen(report.ranking))


SECTIONS: Final[dict[type, Callable[..., Iterator[Section]]]] = {
    RunReport: _run,
    RecipeReport: _recipe,
    TableReport: _table,
}


def _page(show: Callable[[], None]) -> str:
    with render.onto(Page()) as page:
        show()
    return page.html


def curve(points: Sequence[tuple[float, float]]) -> str:
    """A step curve of the best value over the work done, as SVG."""
    if not points:
        return "<p>nothing yet</p>"
    last, low, high = points[-1][0] or 1, points[0][1], points[-1][1]
    span = (high - low) or 1.0

    def at(x: float, y: float) -> str:
        return f"{MARGIN + (WIDTH - 2 * MARGIN) * x / last:.1f},{_height((y - low) / span):.1f}"

    path = [at(*points[0])]
    for before, point in pairwise(points):
        path += [at(point[0], before[1]), at(*point)]
    label = f"best fitness from {low:.3f} to {high:.3f} over {last:,.0f} evaluated programs"
    return _figure(
        HEIGHT,
        label,
        f'<path class="axis" d="M{MARGIN},{MARGIN / 2} V{HEIGHT - MARGIN} H{WIDTH - MARGIN}"/>'
        f'<polyline class="data" stroke-width="2" points="{" ".join(path)}"/>'
        f'<text x="4" y="{_height(1) + 4:.0f}">{high:.3f}</text>'
        f'<text x="4" y="{_height(0) + 4:.0f}">{low:.3f}</text>'
        f'<text x="{WIDTH - MARGIN}" y="{HEIGHT - MARGIN / 2}" text-anchor="end">'
        f"{last:,.0f} evaluated</text>",
    )


def _height(share: float) -> float:
    return HEIGHT - MARGIN - (HEIGHT - 1.5 * MARGIN) * share


def bars(values: Sequence[tuple[str, int]]) -> str:
    """A bar for each layer's bits, its name and number beside it, as SVG."""
    row, left = 16, 220
    most = max((bits for _, bits in values), default=1)
    parts = []
    for i, (name, bits) in enumerate(values):
        y, width = i * row, (WIDTH - left - 40) * bits / most
        parts.append(
            f'<text x="{left - 6}" y="{y + 12}" text-anchor="end">{escape(name[-36:])}</text>'
            f'<rect x="{left}" y="{y + 3}" width="{width:.1f}" height="{row - 6}"/>'
            f'<text x="{left + width + 5:.1f}" y="{y + 12}">{bits}</text>'
        )
    return _figure(len(values) * row + 4, "weight bits of each layer", "".join(parts))


def _figure(height: float, label: str, body: str) -> str:
    box = f"0 0 {WIDTH} {height:.0f}"
    size = f'width="{WIDTH}" viewBox="{box}"'
    return f'<svg {size} role="img" aria-label="{escape(label)}">{body}</svg>'
