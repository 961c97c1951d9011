"""Programs on a workbench to their scores, for `eval`, the REPL, `assign` and `emqlang.score`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from time import perf_counter

from emqlang.grammar.diagnostics import EXIT_NOT_FINITE, EXIT_OK, Diagnostic, error
from emqlang.grammar.expr import inputs
from emqlang.grammar.program import Program
from emqlang.quant.bits.configuration import read_configuration
from emqlang.quant.bits.menu import Choice
from emqlang.quant.networks.facts import Group, LayerFacts, NetworkFacts
from emqlang.scores.joint import ConfigurationScore
from emqlang.scores.pipeline import Scores, score
from emqlang.scores.table import Array
from emqlang.tasks.workbench import Workbench


@dataclass(frozen=True, eq=False)
class Scored:
    """One proxy on one network.

    table         its scores: a table, unless it does not separate
    config_score  the configuration's score, None if it is not finite, or there is none
    reference     the columns of the menu that `alone` starts from, where there is no table: those
                  of the configuration, or of the most bits everywhere
    """

    program: Program
    table: Scores
    config_score: float | None
    reference: tuple[int, ...] = ()

    @cached_property
    def alone(self) -> Array:
        """(groups, choices): what the score gains where one group alone leaves the reference."""
        assert isinstance(self.table, ConfigurationScore)
        return self.table.alone(self.reference)

    @cached_property
    def reference_score(self) -> float | None:
        """Its score; None if it is not finite."""
        score = self.table.score(self.reference)
        return score if isfinite(score) else None

    @property
    def inputs(self) -> tuple[str, ...]:
        return inputs(self.program.elaborated)


@dataclass(frozen=True, eq=False)
class EvalResult:
    """Several proxies on one network.

    data                which images were read, in words; empty if none were
    config              the configuration to score, one choice per group
    notices             warnings about the network, its data and the cache, each given once
    statistics_seconds  loading the network and its images, and collecting
    """

    network: NetworkFacts
    data: str
    choices: tuple[Choice, ...]
    config: tuple[Choice, ...] | None
    scored: tuple[Scored, ...]
    notices: tuple[Diagnostic, ...]
    statistics_seconds: float
    evaluation_seconds: float

    @property
    def layers(self) -> tuple[LayerFacts, ...]:
        return self.network.collection.layers

    @property
    def groups(self) -> tuple[Group, ...]:
        return self.network.collection.groups

    @cached_property
    def group_of(self) -> tuple[str, ...]:
        """The group's name for each layer."""
        names = {index: group.name for group in self.groups for index in group.layers}
        return tuple(names[index] for index in range(len(self.layers)))

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """Notices, then scores that fall as bits rise, then scores that are not finite."""
        tables = [scored.table for scored in self.scored]
        falling = [warning for table in tables for warning in table.warnings]
        return (*self.notices, *falling, *self._problems)

    @cached_property
    def _problems(self) -> tuple[Diagnostic, ...]:
        """E501 for every proxy whose scores are not finite, or whose configuration's is not."""
        found = []
        for scored in self.scored:
            if scored.table.problem is not None:
                found.append(scored.table.problem)
            elif self.config is not None and scored.config_score is None:
                message = "the groups' scores add up to no finite number for this configuration"
                found.append(Diagnostic("E501", message))
        return tuple(found)

    @property
    def exit_status(self) -> int:
        return EXIT_NOT_FINITE if self._problems else EXIT_OK


def evaluate(
    workbench: Workbench,
    programs: Sequence[Program],
    config: str | None = None,
    tied: str | None = None,
) -> EvalResult:
    """Scores of programs, evaluated together. Raises EmqError.

    config  one choice per group, as 4,4,2,...
    tied    how tied layers make one score, where not as the workbench's options say
    """
    workbench.check_menu(programs)
    started = perf_counter()
    chosen = None if config is None else _configuration(config, workbench)
    names = inputs(*(program.canonical for program in programs))
    statistics = workbench.kept(names) or workbench.statistics(names)
    collected = perf_counter()
    tables = score(
        programs,
        statistics,
        workbench.facts.collection.groups,
        tied or workbench.options.tied,
        workbench.reduced,
        unmeasured=statistics.unmeasured,
    )
    finished = perf_counter()
    network = workbench.facts
    warnings = (*network.warnings, *workbench.data_warnings(names), *statistics.warnings)
    return EvalResult(
        network=network,
        data=workbench.source(names),
        choices=workbench.choices,
        config=chosen,
        scored=tuple(
            _scored(program, table, chosen) for program, table in zip(programs, tables, strict=True)
        ),
        notices=workbench.new(warnings),
        statistics_seconds=collected - started,
        evaluation_seconds=finished - collected,
    )


def _configuration(text: str, workbench: Workbench) -> tuple[Choice, ...]:
    """One choice of the menu per group. Raises E402."""
    collection, choices = workbench.facts.collection, workbench.choices
    config = read_configuration(text, collection)
    for group, choice in zip(collection.groups, config, strict=True):
        if choice not in choices:
            raise error(
                "E402",
                f"'{group.name}' is given {choice}, which is not in the menu",
                f"the menu is {', '.join(map(str, choices))}",
            )
    return config


def _scored(program: Program, table: Scores, config: Sequence[Choice] | None) -> Scored:
    columns = None if config is None else tuple(map(table.choices.index, config))
    found = None if columns is None else table.score(columns)
    top = table.top if isinstance(table, ConfigurationScore) else ()
    finite = found if found is not None and isfinite(found) else None
    return Scored(program, table, finite, top if columns is None else columns)
