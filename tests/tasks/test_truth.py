"""The ground truth of a made-up table, and ceilings of what can rank it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.tables.table import Rerun, Table
from emqlang.scores.correlation import spearman
from emqlang.tasks.truth import (
    ENOUGH,
    additive_ceiling,
    cross_validated,
    image_ceiling,
    one_hot,
    own_correlation,
    rerun_ceiling,
    stratified,
    truth_of,
)

IMAGES = 2000


def made_up(rows: int = 200, noise: float = 0.0, seed: int = 0) -> Table:
    """Four groups whose bits add to the accuracy with weights 8, 4, 2 and 1; images to match."""
    rng = np.random.default_rng(seed)
    choices = rng.integers(3, size=(rows, 4))
    values = 0.4 + choices @ [8, 4, 2, 1] / 60 + noise * rng.standard_normal(rows)
    right = rng.random((rows, IMAGES)) < values[:, None]
    facts = {
        "menu": ["W2", "W3", "W4"],
        "groups": [{"name": name, "layers": [name]} for name in "abcd"],
        "model": {"name": "m"},
    }
    return Table(
        name="made up",
        facts=facts,
        ids=np.arange(rows),
        choices=choices,
        search=np.arange(rows) < rows * 0.7,
        accuracy=right.mean(1),
        loss=1 - values,
        agreement=values,
        right=right,
        size=choices.sum(1),
        bops=choices.sum(1),
        seconds=np.zeros(rows),
    )


def test_one_half_of_the_images_ranks_as_the_other_lets_it() -> None:
    found = image_ceiling(made_up(), np.random.default_rng(0))
    truth, other = made_up(seed=0), made_up(seed=0)
    assert (
        0.97 < found.rho[-1] < 1
        and (found.low <= found.rho).all()
        and (found.rho <= found.high).all()
    )
    assert truth.right is not None and other.right is not None and found.rho[0] < found.rho[-1]


def test_an_additive_table_is_ranked_by_a_fit() -> None:
    exact, noisy = (
        additive_ceiling(made_up(noise=noise), np.random.default_rng(0)) for noise in (0.0, 0.1)
    )
    assert exact.rho[-1] > 0.98 > 0.85 > noisy.rho[-1] > 0.5


def test_the_fit_is_to_ranks() -> None:
    """Accuracies that bend the same sums have the ceiling of those sums."""
    table = made_up(400)
    straight = (table.choices @ [8, 4, 2, 1] + 1) / 46
    bent = [replace(table, accuracy=straight**power, right=None) for power in (1, 40)]
    same = [additive_ceiling(one, np.random.default_rng(0)) for one in bent]
    assert (same[0].rho == same[1].rho).all() and same[0].rho[0] > 0.97
    assert "on ranks" in same[0].what


def test_predictions_never_see_their_own_row() -> None:
    rng = np.random.default_rng(0)
    found = cross_validated(rng.standard_normal((100, 30)), rng.standard_normal(100), rng)
    assert abs(spearman(found[None], rng.standard_normal(100))[0]) < 0.3


def test_one_column_for_each_choice_that_occurs() -> None:
    table = made_up()
    assert one_hot(table).shape == (200, 12) and (one_hot(table).sum(1) == 4).all()


def test_a_rerun_is_a_ceiling() -> None:
    table, rows = made_up(), np.arange(50)
    rerun = Rerun("seed", {"seed": 1}, rows, table.accuracy[rows] + 0.01, None)
    found = rerun_ceiling(table, rerun, np.random.default_rng(0))
    assert found.rho == pytest.approx(1) and found.rows == 50 and "seed 1" in found.what
    with pytest.raises(EmqError):
        rerun_ceiling(
            table, Rerun("few", {}, rows[:4], table.accuracy[:4], None), np.random.default_rng(0)
        )


def test_a_reruns_interval_holds_its_value() -> None:
    """The rerun met the same test images, whose noise is no difference between the two."""
    table, rows = made_up(), np.arange(100)
    noise = 0.02 * np.random.default_rng(1).standard_normal(len(rows))
    found = rerun_ceiling(
        table,
        Rerun("seed", {"seed": 1}, rows, table.accuracy[rows] + noise, None),
        np.random.default_rng(0),
    )
    assert (found.low < found.rho).all() and (found.rho < found.high).all()


def test_strong_layers_are_held_fixed() -> None:
    rows, strata = stratified(made_up(2000))
    assert strata == {"a": "at 3 bits", "b": "at 3 bits"} or set(strata) == {"a", "b"}
    assert len(np.unique(rows.bits[:, 0])) == 1 and len(np.unique(rows.bits[:, 3])) == 3
    few, strata = stratified(made_up(90))
    assert "above 2 bits" in strata.values() and len(few) >= ENOUGH


def test_each_layers_own_bits() -> None:
    own = own_correlation(made_up(2000))
    assert own[0] > own[1] > own[2] > own[3] > 0


def test_the_truth_may_be_the_loss() -> None:
    table = made_up()
    assert (truth_of(table, "loss").values == -table.loss).all() and truth_of(
        table, "loss"
    ).right is None
    with pytest.raises(EmqError, match="does not know the losses"):
        truth_of(replace(table, loss=np.full(200, np.nan)), "loss")
