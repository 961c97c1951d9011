"""The shipped tables: whole, of the shipped networks, and equal to what is measured again."""

from __future__ import annotations

import numpy as np
import pytest

from emqlang.quant.tables.row_builder import RowBuilder
from emqlang.quant.tables.shelf import DEFAULT, shipped
from emqlang.quant.tables.table import load
from emqlang.scores.correlation import spearman

NAMES = sorted(shipped())
AGAIN = 2  # rows of each that are measured again
LEARNED = 1  # where each takes a minute
ROWS = {"edge": 400, "brecq": 120}  # 425 of the others
ROUNDING = {"brecq": "brecq", "adaround": "adaround"}  # nearest of the others
WIDTHS = {"wide": {2, 3, 4, 5, 6, 7, 8}}  # {2, 3, 4} of the others
KINDS = {
    "resnet18-fmnist": ("all", "inner", "edge", "brecq", "adaround"),
    "resnet18-fmnist-s1": ("all", "inner", "edge"),
    "vgg-fmnist": ("all", "inner", "edge", "wide"),
    "mobilenetv2-fmnist": ("all", "inner", "edge", "wide"),
    "vit-fmnist": ("all", "inner", "edge"),
}


def test_what_is_shipped() -> None:
    assert {f"{net}-{kind}" for net, kinds in KINDS.items() for kind in kinds} == set(NAMES)
    assert DEFAULT in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_table_is_what_its_name_says(name: str) -> None:
    table, (_, kind) = load(name), name.rsplit("-", 1)
    assert len(table) == ROWS.get(kind, 425) == len(np.unique(table.choices, axis=0))
    assert table.right is not None and table.right.shape[1] == 10_000
    assert table.spec.rounding == ROUNDING.get(kind, "nearest")
    assert len(table.budgets) == (8 if kind == "edge" else 0)
    ends = table.bits[:, [0, -1]]
    assert set(ends.ravel()) == ({8} if kind == "inner" else WIDTHS.get(kind, {2, 3, 4}))
    assert 0.3 < table.search.mean() < 0.8 and np.allclose(table.right.mean(1), table.accuracy)
    assert (
        table.facts["float"]["accuracy"] > 0.9
        and table.accuracy.min() < table.accuracy.max() < 0.95
    )
    assert spearman(table.bits.sum(1, dtype=np.float64)[None], table.accuracy)[0] > 0.3


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_rows_are_measured_again_alike(name: str) -> None:
    """Bit for bit where the float network's loss is; else a rounding may go the other way."""
    table = load(name)
    builder = RowBuilder(table.spec)
    table.check(builder.network)
    same = builder.plain.loss == table.facts["float"]["loss"]
    rows = np.random.default_rng(0).choice(
        len(table), AGAIN if table.spec.rounding == "nearest" else LEARNED, replace=False
    )
    for row in rows:
        found = builder.measure(tuple(table.choices[row].tolist()))
        if same:
            assert found.accuracy == table.accuracy[row] and found.loss == table.loss[row]
            assert table.right is not None and (found.right == table.right[row]).all()
        else:
            assert found.accuracy == pytest.approx(table.accuracy[row], abs=0.01)
