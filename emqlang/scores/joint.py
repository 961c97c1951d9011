"""Scores that are no sum over layers: programs of the configuration, on whole configurations.

Where a program separates, a `ScoreTable` says it all. Any other is scored configuration by
configuration. What each `total` sums is known for every group and choice, so that the totals of
many configurations are one product: a matrix of ones and zeros, (n, groups x choices), with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from emqlang.compiler.cache import Cache
from emqlang.compiler.joint import BLOCK, Rest
from emqlang.compiler.statistics import Choice
from emqlang.grammar.diagnostics import Diagnostic
from emqlang.grammar.expr import Expr
from emqlang.scores.table import Array, Bools, Configurations, Group, fall_warning, falling

_BITS = 40  # that a score keeps, twelve digits: sums of equal terms in another order stay equal


@dataclass(frozen=True, eq=False)
class ConfigurationScore:
    """One program that does not separate, on one network.

    layers   names
    choices  the menu
    groups   in the order of a configuration
    tied     how a group's layers make one term of a total: a key of TIED
    program  in planning form
    terms    for each `total` in it, what it sums: (groups, choices, images), NaN where not finite
    images   how many a value has that has one for each
    broken   (layers, choices): where a term is not finite
    unknown  layer -> why a statistic could not be measured there: its terms mean nothing
    """

    layers: tuple[str, ...]
    choices: tuple[Choice, ...]
    groups: tuple[Group, ...]
    tied: str
    program: Expr
    terms: Mapping[Expr, Array]
    images: int
    broken: NDArray[np.bool_]
    unknown: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        menu = " ".join(map(str, self.choices))
        groups = f"{len(self.groups)} groups, choices {menu}"
        return f"ConfigurationScore({groups}, {self.images:,} values for each)"

    def score(self, configuration: Sequence[int]) -> float:
        """The score of one column of the menu per group; not finite where there is none."""
        return float(self.totals(np.array([configuration]))[0])

    def totals(self, configurations: Configurations, known: Cache | None = None) -> Array:
        """The scores (n,) of configurations (n, groups), to twelve digits.

        known  totals of these configurations, from the same statistics, that programs share
        """
        buffers = {
            total: np.empty((BLOCK, finite.shape[1]))
            for total, (finite, _) in self._matrices.items()
        }
        room = self._rest.buffers()
        scores = np.empty(-(-len(configurations) // BLOCK) * BLOCK)
        for start in range(0, len(configurations), BLOCK):
            sums = self._sums(configurations[start : start + BLOCK], buffers, known, start)
            for row in range(0, BLOCK, self._rest.rows):
                part = slice(row, row + self._rest.rows)
                of_part = {total: each[part] for total, each in sums.items()}
                scores[start:][part] = self._rest.evaluate(of_part, room)
        return _rounded(scores[: len(configurations)])

    def _sums(
        self,
        configurations: Configurations,
        buffers: Mapping[Expr, Array],
        known: Cache | None,
        start: int,
    ) -> Mapping[Expr, Array]:
        """The totals of at most BLOCK configurations, by a product that always has one size."""
        width, sums = len(self.choices), dict(buffers)
        columns = configurations + np.arange(len(self.groups)) * width
        chosen = np.zeros((BLOCK, len(self.groups) * width))
        np.put_along_axis(chosen[: len(columns)], columns, 1.0, axis=1)
        for total, (finite, lost) in self._matrices.items():
            key = total.digest, start
            if known is not None and (shared := known.get(key)) is not None:
                sums[total] = shared
                continue
            np.matmul(chosen, finite, out=buffers[total])
            if lost is not None:
                buffers[total][(chosen @ lost)[:, 0] > 0] = np.nan
            if known is not None:
                known.put(key, buffers[total])
        return sums

    @cached_property
    def _matrices(self) -> dict[Expr, tuple[Array, Array | None]]:
        """For each total its terms (groups x choices, images), and which rows are not finite."""
        found: dict[Expr, tuple[Array, Array | None]] = {}
        for total, terms in self.terms.items():
            matrix = np.ascontiguousarray(terms.reshape(-1, terms.shape[-1]))
            lost = np.array(np.isnan(matrix).any(axis=1), np.float64)[:, None]
            if lost.any():
                found[total] = np.where(lost > 0, 0.0, matrix), lost
            else:
                found[total] = matrix, None
        return found

    @cached_property
    def _rest(self) -> Rest:
        return Rest(self.program, self.images)

    @property
    def finite(self) -> bool:
        """Whether what is summed is finite under every choice."""
        return not self.broken.any()

    @property
    def q(self) -> None:
        """There are no values of layers."""
        return None

    @cached_property
    def top(self) -> tuple[int, ...]:
        """The configuration with the most bits everywhere: the reference of `alone` by default."""
        bits = [(choice.weight_bits, choice.act_bits or 0) for choice in self.choices]
        return (bits.index(max(bits)),) * len(self.groups)

    def alone(self, reference: Sequence[int] | None = None) -> Array:
        """(groups, choices): what the score gains where one group alone leaves the reference."""
        start = np.array(self.top if reference is None else reference)
        number, width = len(self.groups), len(self.choices)
        moved = np.tile(start, (number, width, 1))
        for group in range(number):
            moved[group, :, group] = np.arange(width)
        with np.errstate(invalid="ignore"):
            gained: Array = self.totals(moved.reshape(-1, number)) - self.totals(start[None])
        return gained.reshape(number, width)

    def halves(self) -> tuple[ConfigurationScore, ConfigurationScore] | None:
        """The same score on the first half of the images, and on the others; None of one image."""
        if self.images < 2 or all(terms.shape[-1] == 1 for terms in self.terms.values()):
            return None
        middle = self.images // 2
        return self._of(slice(middle)), self._of(slice(middle, self.images))

    def _of(self, part: slice) -> ConfigurationScore:
        terms = {
            total: values if values.shape[-1] == 1 else values[..., part]
            for total, values in self.terms.items()
        }
        return replace(self, terms=terms, images=len(range(self.images)[part]))

    def undecided(self, allowed: Bools | None = None) -> dict[str, str]:
        """Group -> why its choice does not matter to the score; arguments as in `ScoreTable`.

        It is asked where all others have the most bits, and where they have the fewest.
        """
        bits = [(choice.weight_bits, choice.act_bits or 0) for choice in self.choices]
        bottom = (bits.index(min(bits)),) * len(self.groups)
        gains = np.stack([self.alone(), self.alone(bottom)], axis=-1)
        reasons: dict[str, str] = {}
        for index, group in enumerate(self.groups):
            among = gains[index] if allowed is None else gains[index][allowed[index]]
            unknown = [self.unknown[name] for name in self._names(group) if name in self.unknown]
            if len(among) > 1 and unknown:
                reasons[group.name] = unknown[0]
            elif len(among) > 1 and (among == among[0]).all():
                reasons[group.name] = "the score is the same for every choice"
        return reasons

    def _names(self, group: Group) -> list[str]:
        layers = (group.main,) if self.tied == "main" else group.layers
        return [self.layers[layer] for layer in layers]

    @cached_property
    def problems(self) -> tuple[Diagnostic, ...]:
        """E501 for every layer with a term that is not finite; or else for the reference."""
        return tuple(self._problems())

    def _problems(self) -> Iterator[Diagnostic]:
        for layer, row in enumerate(self.broken):
            if row.any():
                bad = [
                    str(choice) for choice, is_bad in zip(self.choices, row, strict=True) if is_bad
                ]
                message = f"what the layer adds to a total is not finite for {', '.join(bad)}"
                yield Diagnostic("E501", message, path=self.layers[layer])
        if not self.broken.any() and not np.isfinite(self.score(self.top)):
            yield Diagnostic("E501", "the score is not finite where every group has the most bits")

    @property
    def problem(self) -> Diagnostic | None:
        """The first of the problems; None if there are none."""
        return next(iter(self.problems), None)

    @cached_property
    def falling(self) -> tuple[str, ...]:
        """Names of the groups whose bits, raised alone at the top, make the score fall."""
        return falling(self.groups, self.choices, self.alone())

    @cached_property
    def warnings(self) -> tuple[Diagnostic, ...]:
        """W602 if more than half of the groups are such, naming the first few.

        One by one they are no mistake: the errors of a layer may cancel those of others.
        """
        suspicious = 2 * len(self.falling) > len(self.groups)
        if not suspicious:
            return ()
        few = f"on few images errors cancel by chance: these are {self.images:,} values for each"
        return fall_warning(self.falling, len(self.groups), few)


def _rounded(scores: Array) -> Array:
    """To _BITS of each score's own mantissa, so that no other score has a say in it."""
    mantissa, exponent = np.frexp(scores)
    with np.errstate(invalid="ignore", over="ignore"):
        rounded: Array = np.ldexp(np.rint(mantissa * 2.0**_BITS), exponent - _BITS)
    return rounded
