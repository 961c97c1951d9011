"""Answers of the REPL that no other command gives: a place on a table, neighbours, comparisons."""

from __future__ import annotations

from math import isnan

import numpy as np

from emqlang.grammar.program import Program
from emqlang.grammar.text.printer import show
from emqlang.scores.correlation import RATIOS
from emqlang.tasks.comparison import Comparison, Sensitivity
from emqlang.tasks.judge import Judge
from emqlang.tasks.neighbours import Neighbour, Neighbourhood
from emqlang.tasks.rank import Ranking
from emqlang.views import render
from emqlang.views.eval import numbers
from emqlang.views.rank import SEEN, TOPS, span
from emqlang.views.render import Cell, Column

BAR = 20  # characters of the longest bar
SHOWN = 10  # neighbours
SHORT = 24  # characters of a text that stands for a name


def place(program: Program, ranking: Ranking) -> None:
    """The canonical form, and what the program is worth on the loaded table."""
    pairs = [("canonical", show(program.canonical))]
    if ranking.standings:
        (one,) = ranking.standings
        tops = zip(TOPS, one.rho, one.low, one.high, strict=True)
        worth = ", ".join(f"{top} {rho:.3f} ({span(low, high)})" for top, rho, low, high in tops)
        seen = f"; {SEEN.removeprefix('† ').partition(';')[0]}" if one.seen else ""
        pairs.append((f"on {ranking.table.name}", f"{worth}; regret {one.regret:.2f} points{seen}"))
    else:
        pairs.append((f"on {ranking.table.name}", "scores that are not finite"))
    render.text()
    render.fields(pairs)


def table(judge: Judge) -> None:
    """Which table judges."""
    rows, model = len(judge.table), judge.table.facts["model"]["name"]
    menu = " ".join(map(str, judge.table.menu))
    render.fields([("table", f"{judge.table.name}: {rows:,} rows of {model}"), ("menu", menu)])


def sensitivity(found: Sensitivity) -> None:
    """What each group loses alone and in company, and its share of all losses as a bar."""
    columns = [Column("group", style="bold"), Column("weights", "right", "dim", optional=True)]
    falls = [column for column in range(len(found.choices)) if found.alone[:, column].any()]
    blocks = [("alone", found.alone)]
    if found.company is not None:
        blocks.append(("in company", found.company))
    cells: list[list[str]] = []
    for name, losses in blocks:
        for column in falls:
            columns.append(Column(f"{name} {found.choices[column]}", "right"))
            cells.append(numbers(losses[:, column].tolist()))
    columns += [Column("share", "right"), Column("", style="cyan", optional=True)]
    widest = np.nanmax(np.abs(found.share), initial=0.0)
    rows: list[list[Cell]] = []
    for index, group in enumerate(found.groups):
        share = found.share[index]
        bar = "" if isnan(share) or not widest else "▇" * round(BAR * abs(share) / widest)
        values = [column[index] for column in cells]
        rows.append([group.name, f"{found.weights[index]:,}", *values, _percent(share), bar])
    most = found.choices[-1] if found.choices else ""
    where = "all others keep the most bits; in company: all others have the fewest"
    render.fields(
        [
            ("losses", f"of the score where one group's bits fall from {most}"),
            ("alone", where if found.company is not None else ""),
            ("separates", "" if found.company is not None else "yes: in any company alike"),
        ]
    )
    render.text()
    render.table(columns, rows)


def comparison(found: Comparison, names: tuple[str, str]) -> None:
    """Shares of each group, the bits that each proxy gives it, and where the two differ."""
    one, other = found.sides
    pairs = [("agreement", "" if found.agreement is None else _agreement(found, names))]
    here, there = found.bits
    if here is not None and there is not None:
        apart = sum(a != b for a, b in zip(here, there, strict=True))
        said = f"at {found.avg_bits:g} bits on average {apart} of {len(one.groups)} groups differ"
        pairs.append(("bits", said))
    pairs.append(("shares", "of what all groups lose that fall alone to the fewest bits"))
    render.fields(pairs)
    columns = [Column("group", style="bold")]
    columns += [Column(name, "right") for name in names]
    columns += [Column("bits", optional=True)]
    columns += [Column(f"more in {name}", style="cyan", optional=True) for name in names]
    widest = np.nanmax(np.abs(found.difference), initial=0.0)
    rows: list[list[Cell]] = []
    for index, group in enumerate(one.groups):
        shares = [_percent(side.share[index]) for side in (one, other)]
        less, more = _bars(found.difference[index], widest)
        bits = [str(side[index]) if side is not None else "-" for side in found.bits]
        both = bits[0] if bits[0] == bits[1] else f"{bits[0]} / {bits[1]}"
        rows.append([group.name, *shares, both, more, less])
    render.text()
    render.table(columns, rows)


def neighbourhood(found: Neighbourhood) -> None:
    """The best mutations with what they gain on the rows that searches see, and on the others."""
    base = found.program
    better = sum(one.search > base.search for one in found.others)
    render.fields(
        [
            ("program", f"{base.text}  {_fitness(base.search)}, held out {_fitness(base.heldout)}"),
            ("neighbours", f"{len(found.others)} mutations, {better} of them better"),
        ]
    )
    render.text()
    columns = [
        Column("program", style="bold", folds=True),
        Column("fitness", "right"),
        Column("gains", "right"),
        Column("held out", "right"),
        Column("gains", "right", optional=True),
        Column("by", style="dim", optional=True),
    ]
    render.table(columns, [_neighbour(one, base) for one in found.others[:SHOWN]])


def _neighbour(one: Neighbour, base: Neighbour) -> list[Cell]:
    gains = (one.search - base.search, one.heldout - base.heldout)
    said = ["-" if isnan(gain) else f"{gain:+.3f}" for gain in gains]
    return [one.text, _fitness(one.search), said[0], _fitness(one.heldout), said[1], one.operator]


def _fitness(value: float) -> str:
    return "-" if isnan(value) else f"{value:.3f}"


def _agreement(found: Comparison, names: tuple[str, str]) -> str:
    said = f"Spearman {found.agreement:.3f} on the table's rows"
    for name, rho in zip(names, found.rho or (), strict=True):
        tops = " ".join(f"{value:.3f}" for value in rho)
        said += f"; {name} {tops}"
    return f"{said} ({' '.join(f'@{ratio:.0%}' for ratio in RATIOS)})"


def _bars(difference: float, widest: float) -> tuple[str, str]:
    """A bar for what is negative, and one for what is positive."""
    if isnan(difference) or not widest:
        return "", ""
    bar = "▇" * round(BAR / 2 * abs(difference) / widest)
    return (bar, "") if difference < 0 else ("", bar)


def _percent(share: float) -> str:
    return "-" if isnan(share) else f"{share:.1%}"


def name_of(program: Program) -> str:
    """What stands for a program at the head of a column."""
    text = program.name or program.text
    return text if len(text) <= SHORT else text[: SHORT - 1] + "…"
