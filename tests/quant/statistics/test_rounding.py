"""Statistics of the errors that learned rounding leaves: each layer's, learned alone, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from measured import collect, labelled, layer_values
from torch import Tensor, nn

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.bits.menu import parse_bits
from emqlang.quant.networks.network import Network
from emqlang.quant.ptq.grids import WeightQuantizer
from emqlang.quant.ptq.recipe import Procedure
from emqlang.quant.ptq.unit_rounding import UnitRounding
from emqlang.quant.statistics.collect import collect_statistics
from emqlang.quant.statistics.kinds import ROUNDED
from emqlang.quant.statistics.options import StatisticsOptions
from emqlang.quant.statistics.table import Statistics

Subject = tuple[Network, Tensor, Tensor]
COUNT = 64
LEARNED = Procedure("adaround", COUNT, 200)
QUICK = Procedure("adaround", COUNT, 5)


@pytest.fixture(scope="module")
def subject() -> Subject:
    torch.manual_seed(0)
    return labelled(nn.Sequential(nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 3)), (24,), COUNT)


def learned(subject: Subject, *names: str, **options: Any) -> Statistics:
    return collect(subject[0], names, *subject[1:], **{"procedure": QUICK, "menu": "2", **options})


@pytest.fixture(scope="module")
def both(subject: Subject) -> tuple[Statistics, Statistics]:
    """Everything that sees rounding, learned and to the nearest, on the same images."""
    names = sorted(ROUNDED)
    nearest = collect(subject[0], names, *subject[1:], menu="2", images=COUNT)
    return learned(subject, *names, images=COUNT, procedure=LEARNED), nearest


def test_errors_are_those_of_units_learned_alone(
    subject: Subject, both: tuple[Statistics, Statistics]
) -> None:
    network, values, labels = subject
    alone = UnitRounding(network, [(values, labels)], LEARNED, WeightQuantizer(), 0)
    for layer, errors in zip(network.collection.layers, layer_values(both[0], "qerr"), strict=True):
        weight = alone.grid(layer.name, 2).values(alone.learn(layer.name, [2])[layer.name])
        torch.testing.assert_close(errors[0], (weight - layer.weight).detach().flatten())


def test_outputs_are_nearer_and_weights_are_not(both: tuple[Statistics, Statistics]) -> None:
    """That is what rounding is learned for; and every statistic of errors sees it."""
    learned, nearest = both
    assert (learned.array("out_mse") < 0.98 * nearest.array("out_mse")).all()
    norms = [[part.norm() for part in layer_values(found, "qerr")] for found in both]
    assert norms[0][0] > norms[1][0] and norms[0][1] >= norms[1][1]
    for name in ROUNDED:
        assert not torch.equal(learned.array(name), nearest.array(name)), name


def test_every_statistic_sees_the_same_errors(
    subject: Subject, both: tuple[Statistics, Statistics]
) -> None:
    """`fisher_qerr` is the mean square of `shift`, whatever the errors are."""
    squares = both[0].array("shift").double().view(1, 2, COUNT).square().mean(2)
    torch.testing.assert_close(both[0].array("fisher_qerr"), squares, rtol=1e-4, atol=0)


def test_what_is_learned_is_kept(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = learned(subject, "qerr", cache=tmp_path)
    monkeypatch.setattr(UnitRounding, "learn", None)  # nothing is learned again
    again = learned(subject, "out_mse", "qerr", cache=tmp_path)
    assert torch.equal(first.array("qerr"), again.array("qerr"))


@pytest.mark.parametrize(
    "change",
    [
        {"procedure": Procedure("adaround", COUNT, 6)},
        {"procedure": Procedure("adaround", COUNT - 1, 5)},
        {"procedure": Procedure()},
        {"seed": 1},
    ],
    ids=["iterations", "images", "rounding", "seed"],
)
def test_other_rounding_is_another_statistic(
    subject: Subject, tmp_path: Path, change: dict[str, Any]
) -> None:
    one, other = (learned(subject, "qerr", cache=tmp_path, **how) for how in ({}, change))
    assert one.fingerprint != other.fingerprint
    assert len(list(tmp_path.rglob("qerr-*"))) == 2


def test_what_does_not_see_rounding_is_shared(subject: Subject, tmp_path: Path) -> None:
    collect(subject[0], ["fisher"], *subject[1:], cache=tmp_path)
    before = sorted(tmp_path.rglob("*"))
    learned(subject, "fisher", cache=tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_more_than_eight_bits(subject: Subject) -> None:
    assert learned(subject, "qerr", menu="10").array("qerr").abs().max() < 1e-2


def test_refusals(subject: Subject) -> None:
    with pytest.raises(EmqError, match="block together") as refused:
        learned(subject, "qerr", procedure=Procedure("brecq"))
    assert refused.value.diagnostics[0].code == "E403"
    options = StatisticsOptions(procedure=LEARNED)
    with pytest.raises(EmqError, match="learned on images") as refused:
        collect_statistics(subject[0], ["qerr"], parse_bits("2"), None, options)
    assert refused.value.diagnostics[0].code == "E303"
    assert collect_statistics(subject[0], ["bits", "w"], parse_bits("2"), None, options).arrays
