"""What proxies say of each group of layers: alone and in company, and where two disagree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emqlang.compiler.statistics import Choice as AnyChoice
from emqlang.grammar.diagnostics import Diagnostic, EmqError
from emqlang.grammar.program import Program
from emqlang.quant.bits.menu import Choice
from emqlang.quant.networks.facts import Group
from emqlang.scores.correlation import spearman
from emqlang.scores.joint import ConfigurationScore
from emqlang.scores.pipeline import Scores
from emqlang.scores.table import Array
from emqlang.tasks.eval import evaluate
from emqlang.tasks.judge import Judge
from emqlang.tasks.objective import objective
from emqlang.tasks.problem import Constraints, Problem
from emqlang.tasks.workbench import Workbench


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """What the score loses where one group's bits fall from the menu's most.

    weights  of each group, how many
    choices  the menu
    alone    (groups, choices): all other groups keep the most bits
    company  likewise: all others have the fewest; None where the program separates, since it makes
             no difference there
    """

    program: Program
    groups: tuple[Group, ...]
    weights: tuple[int, ...]
    choices: tuple[Choice, ...]
    alone: Array
    company: Array | None
    diagnostics: tuple[Diagnostic, ...]

    @property
    def share(self) -> Array:
        """(groups,): of what all lose that fall alone to the fewest bits; NaN if that is 0."""
        worst = self.alone[:, _ends(self.choices)[0]]
        total = np.abs(worst).sum()
        return worst / total if total else np.full(len(worst), np.nan)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two proxies on one network, and on one table if there is one.

    avg_bits   of the assignments that are compared
    bits       each proxy's choice for each group; None for one that has none within that
    agreement  Spearman's correlation between the two on the table's rows
    rho        of each proxy with accuracy, over the tops; None without a table
    """

    sides: tuple[Sensitivity, Sensitivity]
    avg_bits: float
    bits: tuple[Sequence[Choice] | None, Sequence[Choice] | None]
    agreement: float | None
    rho: tuple[Array, Array] | None

    @property
    def difference(self) -> Array:
        """(groups,): the first one's share less the second one's."""
        return self.sides[0].share - self.sides[1].share


def sensitivity(bench: Workbench, program: Program) -> Sensitivity:
    """Raises EmqError, E501 among them for a score that is not finite."""
    return _sensitivity(bench, program)[0]


def _sensitivity(bench: Workbench, program: Program) -> tuple[Sensitivity, Scores]:
    result = evaluate(bench.fitted(program.domain), [program])
    table = result.scored[0].table
    if (problem := table.problem) is not None:
        raise EmqError(problem)
    alone, company = losses(table)
    weights = tuple(sum(result.layers[i].numel for i in group.layers) for group in result.groups)
    return (
        Sensitivity(
            program, result.groups, weights, result.choices, alone, company, result.diagnostics
        ),
        table,
    )


def losses(table: Scores) -> tuple[Array, Array | None]:
    """(groups, choices): what a score loses where one group's bits fall, alone and in company.

    The second is None for a score that separates, to which company makes no difference.
    """
    low, high = _ends(table.choices)
    if not isinstance(table, ConfigurationScore):
        return table.scores[:, [high]] - table.scores, None
    gained = table.alone((low,) * len(table.groups))
    return -table.alone(), gained[:, [high]] - gained


def compare(
    bench: Workbench, first: Program, second: Program, judge: Judge | None = None
) -> Comparison:
    """Where two proxies disagree: shares of each group, bits at one average, ranks of rows."""
    (one, scores), (other, others) = (_sensitivity(bench, each) for each in (first, second))
    widths = [choice.weight_bits for choice in bench.choices]
    average = (min(widths) + max(widths)) / 2
    bits = _bits(bench, scores, average), _bits(bench, others, average)
    if judge is None:
        return Comparison((one, other), average, bits, None, None)
    places = [judge.place(each) for each in (first, second)]
    standings = [place.standings[0] for place in places if place.standings]
    if len(standings) < len(places):
        return Comparison((one, other), average, bits, None, None)
    agreement = float(spearman(standings[0].scores[None], standings[1].scores)[0])
    rho = standings[0].rho, standings[1].rho
    return Comparison((one, other), average, bits, agreement, rho)


def _bits(bench: Workbench, scores: Scores, average: float) -> Sequence[Choice] | None:
    """The best choices at most this wide on average; None where the scores say nothing."""
    problem = Problem.of(bench.network, bench.choices, Constraints(avg_bits=f"{average:g}"))
    try:
        return problem.given(objective(problem, scores).solve())
    except EmqError:
        return None


def _ends(choices: Sequence[AnyChoice]) -> tuple[int, int]:
    """The columns of the fewest and of the most bits."""
    bits = [(choice.weight_bits, choice.act_bits or 0) for choice in choices]
    return bits.index(min(bits)), bits.index(max(bits))
