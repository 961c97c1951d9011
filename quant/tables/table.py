"""A benchmark table as it is read: configurations of one network, and what each is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emqlang.grammar.diagnostics import error
from emqlang.quant.bits.configuration import configuration_text
from emqlang.quant.bits.knapsack import Ints
from emqlang.quant.bits.menu import Choice, parse_choice
from emqlang.quant.networks.network import Network
from emqlang.quant.tables.ledger import Ledger
from emqlang.quant.tables.measurement import Marks, Measurement
from emqlang.quant.tables.shelf import find
from emqlang.quant.tables.spec import Spec

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Rerun:
    """Some of a table's rows built once more with something changed. `rows` are positions in the table."""

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

    @property
    def spec(self) -> Spec:
        return Spec.from_dict(self.facts["spec"])

    @cached_property
    def menu(self) -> tuple[Choice, ...]:
        return tuple(map(parse_choice, self.facts["menu"]))

    @property
    def groups(self) -> list[str]:
        return [group["name"] for group in self.facts["groups"]]

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
        return Table(
            self.name, self.facts, **parts, right=None if self.right is None else self.right[rows]
        )

    def split(self, which: str) -> Table:
        """'search' rows, 'heldout' rows, or 'all' of them."""
        return self if which == "all" else self.take(self.search == (which == "search"))

    def check(self, network: Network) -> None:
        """Raises E315 if the table is of another network or of other weights."""
        model = self.facts["model"]
        groups = [group.name for group in network.collection.groups]
        if model["weights_sha256"] != network.weights_sha256 or groups != self.groups:
            raise error(
                "E315",
                f"the table '{self.name}' is of {model['name']} with weights {model['weights_sha256'][:12]}, "
                f"and this is {network.name} with weights {network.weights_sha256[:12]}",
                "score the network that the table was built from",
            )


_COLUMNS = ("ids", "choices", "search", "accuracy", "loss", "agreement", "size", "bops", "seconds")


def load(text: str, *, partial: bool = False) -> Table:
    """A table by its name or path, checked row by row. Raises E301, and E314 for one that is damaged, edited or unfinished.

    partial  take the rows that there are of one that is still being built
    """
    path = find(text)
    ledger = Ledger(path, read_only=True)
    try:
        return _read(path, ledger, partial)
    finally:
        ledger.close()


def _read(path: Path, ledger: Ledger, partial: bool) -> Table:
    ledger.check()
    rows, measured = ledger.rows(), ledger.measured()
    done = [row for row in rows if row.id in measured]
    if not done or (len(done) < len(rows) and not partial):
        raise error(
            "E314",
            f"the table has {len(done):,} of its {len(rows):,} rows",
            "go on with `emqlang bench build`",
            path=str(path),
        )
    _check_choices(path, [row.choices for row in rows], ledger.facts)
    values = [measured[row.id] for row in done]
    place = {row.id: position for position, row in enumerate(done)}
    return Table(
        name=path.stem,
        facts=ledger.facts,
        ids=np.array([row.id for row in done]),
        choices=np.array([row.choices for row in done]),
        search=np.array([row.search for row in done]),
        accuracy=_floats(value.accuracy for value in values),
        loss=_floats(value.loss for value in values),
        agreement=_floats(value.agreement for value in values),
        right=_marks(values),
        size=np.array([row.size for row in done]),
        bops=np.array([row.bops for row in done]),
        seconds=_floats(value.seconds for value in values),
        reruns=tuple(
            _rerun(ledger, name, changed, place) for name, changed in ledger.reruns().items()
        ),
    )


def _check_choices(path: Path, rows: Sequence[tuple[int, ...]], facts: Mapping[str, Any]) -> None:
    """Raises E314 for configurations that are impossible or there twice."""
    groups, menu = len(facts["groups"]), len(facts["menu"])
    for number, row in enumerate(rows):
        if len(row) != groups or not all(0 <= choice < menu for choice in row):
            raise error(
                "E314",
                f"configuration {number} is none of this network's and menu's",
                path=str(path),
            )
    if len(set(rows)) < len(rows):
        raise error("E314", "a configuration appears twice", path=str(path))


def _rerun(
    ledger: Ledger, name: str, changed: Mapping[str, Any], place: Mapping[int, int]
) -> Rerun:
    found = {row: value for row, value in sorted(ledger.measured(name).items()) if row in place}
    rows = np.array([place[row] for row in found], np.intp)
    return Rerun(
        name,
        changed,
        rows,
        _floats(value.accuracy for value in found.values()),
        _marks(list(found.values())),
    )


def known(value: float) -> float | None:
    """A figure of a table, or None where it is not known."""
    return None if np.isnan(value) else float(value)


def _floats(values: Any) -> Floats:
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _marks(values: Sequence[Measurement]) -> Marks | None:
    marks = [value.right for value in values]
    known = [mark for mark in marks if mark is not None]
    return np.array(known) if known and len(known) == len(marks) else None
