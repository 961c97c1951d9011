"""A benchmark table as it is read: configurations of one network, and what each is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from emqlang.grammar.diagnostics import error
from emqlang.quant.bits.configuration import configuration_text
from emqlang.quant.bits.exact import Ints
from emqlang.quant.bits.menu import Choice, parse_choice
from emqlang.quant.networks.facts import NetworkFacts
from emqlang.quant.tables.ledger import Ledger
from emqlang.quant.tables.measurement import Marks, Measurement
from emqlang.quant.tables.shelf import find
from emqlang.quant.tables.spec import Spec

if TYPE_CHECKING:
    from emqlang.quant.networks.network import Network

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Rerun:
    """Rows built again with something changed; `rows` are their positions in the table."""

    name: str
    changed: Mapping[str, Any]
    rows: NDArray[np.intp]
    accuracy: Floats
    right: Marks | None


@dataclass(frozen=True, eq=False)
class Table:
    """n configurations, in the order in which they were drawn.

    facts      all that is needed to build the table again, as the ledger has it
    choices    (n, groups): indices of `menu`
    search     (n,): True for rows that a search may see, False for those held out
    accuracy   (n,); `loss`, `agreement` (n,): NaN where they are not known
    right      (n, images): which images each configuration gets right; None where that is not known
    size, bops (n,): bytes, and bit operations of one image
    """

    name: str
    facts: Mapping[str, Any]
    ids: Ints
    choices: Ints
    search: NDArray[np.bool_]
    accuracy: Floats
    loss: Floats
    agreement: Floats
    right: Marks | None
    size: Ints
    bops: Ints
    seconds: Floats
    reruns: tuple[Rerun, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        best = f"{self.accuracy.min():.1%} to {self.accuracy.max():.1%}" if len(self) else "empty"
        return f"Table({self.name}: {len(self)} rows of {len(self.groups)} groups, {best})"

    @property
    def spec(self) -> Spec:
        return Spec.from_dict(self.facts["spec"])

    @cached_property
    def menu(self) -> tuple[Choice, ...]:
        return tuple(map(parse_choice, self.facts["menu"]))

    @property
    def groups(self) -> list[str]:
        return [group["name"] for group in self.facts["groups"]]

    @property
    def budgets(self) -> tuple[int, ...]:
        """Sizes in bytes within which rows are ranked, ascending; empty where among all."""
        return tuple(self.facts.get("budgets", ()))

    @cached_property
    def strata(self) -> Ints | None:
        """(n,): which of the budgets is the smallest that holds a row; None without budgets."""
        return np.searchsorted(self.budgets, self.size).astype(np.int64) if self.budgets else None

    @cached_property
    def bits(self) -> Ints:
        """(n, groups): weight bits."""
        return np.array([choice.weight_bits for choice in self.menu])[self.choices]

    def config(self, row: int) -> str:
        """One row's configuration, as 4,4,2,..."""
        return configuration_text(self.menu[choice] for choice in self.choices[row])

    def take(self, rows: NDArray[Any]) -> Table:
        """Some of the rows, without reruns."""
        parts = {name: getattr(self, name)[rows] for name in _COLUMNS}
        right = None if self.right is None else self.right[rows]
        return Table(self.name, self.facts, **parts, right=right)

    def split(self, which: str) -> Table:
        """'search' rows, 'heldout' rows, or 'all' of them."""
        return self if which == "all" else self.take(self.search == (which == "search"))

    def check(self, network: Network | NetworkFacts) -> None:
        """Raises E315 if the table is of another network or of other weights."""
        model = self.facts["model"]
        groups = [group.name for group in network.collection.groups]
        built, this = model["weights_sha256"], network.weights_sha256
        if built != this or groups != self.groups:
            raise error(
                "E315",
                f"the table '{self.name}' is of {model['name']} with weights {built[:12]}, "
                f"and this is {network.name} with weights {this[:12]}",
                "score the network that the table was built from",
            )


_COLUMNS: Final = (
    "ids",
    "choices",
    "search",
    "accuracy",
    "loss",
    "agreement",
    "size",
    "bops",
    "seconds",
)


def load(text: str, *, partial: bool = False) -> Table:
    """A table by its name or path, checked row by row.

    partial  accept the rows so far of one that is still being built
    Raises E301, and E314 for one that is damaged, edited or unfinished.
    """
    path = find(text)
    ledger = Ledger(path, read_only=True)
    try:
        with ledger.decoding():
            return _read(path, ledger, partial)
    finally:
        ledger.close()


def _read(path: Path, ledger: Ledger, partial: bool) -> Table:
    ledger.check()
    rows, measured = ledger.rows(), ledger.measured()
    finished = [row for row in rows if row.id in measured]
    if not finished or (len(finished) < len(rows) and not partial):
        message = f"the table has {len(finished):,} of its {len(rows):,} rows"
        raise error("E314", message, "go on with `emqlang bench build`", path=str(path))
    _check_choices(path, [row.choices for row in rows], ledger.facts)
    measurements = [measured[row.id] for row in finished]
    place = {row.id: position for position, row in enumerate(finished)}
    reruns = ledger.reruns().items()
    return Table(
        name=path.stem,
        facts=ledger.facts,
        ids=np.array([row.id for row in finished]),
        choices=np.array([row.choices for row in finished]),
        search=np.array([row.search for row in finished]),
        accuracy=_figures(measurements, "accuracy"),
        loss=_figures(measurements, "loss"),
        agreement=_figures(measurements, "agreement"),
        right=_marks(measurements),
        size=np.array([row.size for row in finished]),
        bops=np.array([row.bops for row in finished]),
        seconds=_figures(measurements, "seconds"),
        reruns=tuple(_rerun(ledger, name, changed, place) for name, changed in reruns),
    )


def _check_choices(path: Path, rows: Sequence[tuple[int, ...]], facts: Mapping[str, Any]) -> None:
    """Raises E314 for configurations that are impossible or appear twice."""
    groups, menu = len(facts["groups"]), len(facts["menu"])
    for number, row in enumerate(rows):
        if len(row) != groups or not all(0 <= choice < menu for choice in row):
            message = f"configuration {number} does not fit the network and the menu"
            raise error("E314", message, path=str(path))
    if len(set(rows)) < len(rows):
        raise error("E314", "a configuration appears twice", path=str(path))


def _rerun(
    ledger: Ledger, name: str, changed: Mapping[str, Any], place: Mapping[int, int]
) -> Rerun:
    measured = {row: one for row, one in sorted(ledger.measured(name).items()) if row in place}
    rows, measurements = np.array([place[row] for row in measured], np.intp), [*measured.values()]
    return Rerun(name, changed, rows, _figures(measurements, "accuracy"), _marks(measurements))


def known(value: float) -> float | None:
    """A figure of a table, or None where it is not known."""
    return None if np.isnan(value) else float(value)


def _figures(measurements: Sequence[Measurement], name: str) -> Floats:
    """One figure of all rows; NaN where it is not known."""
    values = [getattr(one, name) for one in measurements]
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _marks(measurements: Sequence[Measurement]) -> Marks | None:
    marks = [one.right for one in measurements if one.right is not None]
    return np.array(marks) if marks and len(marks) == len(measurements) else None
