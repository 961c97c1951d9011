"""Standings and ceilings, on a made-up table whose truth is known, and on the command line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Emq
from small_table import options

from emqlang.cli import run
from emqlang.grammar import library
from emqlang.grammar.diagnostics import EmqError
from emqlang.grammar.inputs import Cost
from emqlang.quant.tables.table import Rerun, Table, load
from emqlang.scores.correlation import spearman
from emqlang.tasks.eval import evaluate
from emqlang.tasks.rank import Terms, contenders, judge
from emqlang.tasks.truth import (
    ENOUGH,
    additive,
    again,
    cross_validated,
    halves,
    one_hot,
    own_correlation,
    stratified,
    truth_of,
)
from emqlang.tasks.workbench import Workbench, WorkbenchOptions

IMAGES = 2000


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("table")
    assert run(["bench", "build", "--out", str(folder / "own.table"), *options(folder, 60)]) == 0
    yield folder / "own.table"


def made_up(rows: int = 200, noise: float = 0.0, seed: int = 0) -> Table:
    """Four groups whose bits add to the accuracy with weights 8, 4, 2 and 1, on images of that accuracy."""
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
        "made up", facts, np.arange(rows), choices, np.arange(rows) < rows * 0.7, right.mean(1), 1 - values, values, right,
        choices.sum(1), choices.sum(1), np.zeros(rows),
    )  # fmt: skip


def test_one_half_of_the_images_ranks_as_the_other_lets_it() -> None:
    found = halves(made_up(), np.random.default_rng(0))
    truth, other = made_up(seed=0), made_up(seed=0)
    assert (
        0.97 < found.rho[-1] < 1
        and (found.low <= found.rho).all()
        and (found.rho <= found.high).all()
    )
    assert truth.right is not None and other.right is not None and found.rho[0] < found.rho[-1]


def test_an_additive_table_is_ranked_by_a_fit() -> None:
    exact, noisy = (
        additive(made_up(noise=noise), np.random.default_rng(0)) for noise in (0.0, 0.1)
    )
    assert exact.rho[-1] > 0.98 > 0.85 > noisy.rho[-1] > 0.5


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
    found = again(table, rerun, np.random.default_rng(0))
    assert found.rho == pytest.approx(1) and found.rows == 50 and "seed 1" in found.what
    with pytest.raises(EmqError):
        again(table, Rerun("few", {}, rows[:4], table.accuracy[:4], None), np.random.default_rng(0))


def test_a_reruns_interval_holds_its_value() -> None:
    """The rerun met the same test images, whose noise is no difference between the two."""
    table, rows = made_up(), np.arange(100)
    noise = 0.02 * np.random.default_rng(1).standard_normal(len(rows))
    found = again(
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


def test_judging_is_arithmetic_on_the_score_table(path: Path) -> None:
    table = load(str(path))
    bench = Workbench.of_table(table, WorkbenchOptions(cache=False))
    programs = [
        library.find(text)[0]
        for text in ("fisher_error", "bits", "sqrt(numel)", "1e300 * 1e10 * bits * numel ** 3")
    ]
    found = judge(table, bench, programs, Terms(draws=50))
    assert [problem.code for problem in found.problems] == ["E501"] and found.exit_status == 4
    assert {s.name for s in found.standings} == {"fisher_error", "bits", "sqrt(numel)"}
    (scored,) = evaluate(bench, [programs[0]]).scored
    own = next(s for s in found.standings if s.name == "fisher_error")
    expected = [scored.table.score(row) for row in table.choices.tolist()]
    assert own.scores == pytest.approx(expected) and own.cost is Cost.BACKWARDS
    assert own.rho[-1] == pytest.approx(spearman(np.array([expected]), table.accuracy)[0], abs=1e-6)
    sums = next(s for s in found.standings if s.name == "bits")
    assert (sums.scores == table.bits.sum(1)).all() and sums.cost is Cost.FREE


def test_baselines_are_in_every_ranking(path: Path) -> None:
    table = load(str(path))
    given = library.find("fisher_error")
    names = [program.name for program in contenders(given, table)]
    assert (
        names[0] == "fisher_error"
        and {"bit_sum", "size", "inv_sqrt_numel", "early_first"} < set(names)
        and "emq" not in names
    )
    assert set(library.LIBRARY) == {program.name for program in contenders([], table)}


def ranked(emq: Emq, *arguments: str) -> dict[str, Any]:
    done = emq("rank", *arguments, "--draws", "50", "--json")
    assert done.status == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


def test_rank_on_the_command_line(emq: Emq, path: Path) -> None:
    found = ranked(emq, "fisher_error", "--table", str(path), "--against", "bit_sum")
    (table,) = found["tables"]
    assert (
        found["schema"] == "emqlang.rank/1"
        and table["rows"] == 60
        and table["ratios"] == [0.2, 0.5, 1.0]
    )
    proxies = {proxy["name"]: proxy for proxy in table["proxies"]}
    assert proxies["bit_sum"]["difference"] == {"low": [0, 0, 0], "high": [0, 0, 0]}
    fitness = [sum(proxy["rho"]) for proxy in table["proxies"]]
    assert fitness == sorted(fitness, reverse=True)
    screen = emq("rank", "fisher_error", "--table", str(path), "--draws", "50").out
    assert "fisher_error" in screen and "own: 60 rows" in screen
    rows = list(
        csv.DictReader(
            io.StringIO(emq("rank", "bits", "--table", str(path), "--draws", "20", "--csv").out)
        )
    )
    assert len(rows) == 7 and rows[0]["table"] == "own"


def test_rank_on_parts_of_a_table(emq: Emq, path: Path) -> None:
    assert ranked(emq, "bits", "--table", str(path), "--split", "search")["tables"][0]["rows"] == 42
    assert (
        ranked(emq, "bits", "--table", str(path), "--split", "heldout")["tables"][0]["rows"] == 18
    )
    paper = ranked(emq, "bits", "--table", str(path), "--protocol", "paper")["tables"][0]
    assert all(proxy["low"] <= proxy["rho"] <= proxy["high"] for proxy in paper["proxies"])
    by_loss, by_score = (
        ranked(emq, "bits", "--table", str(path), *way)
        for way in (("--by", "loss"), ("--topk-by", "score"))
    )
    assert by_loss["tables"][0]["proxies"] != by_score["tables"][0]["proxies"]


def test_several_tables_have_a_mean(emq: Emq, path: Path) -> None:
    done = emq("rank", "bits", "--table", str(path), "--table", str(path), "--draws", "20")
    assert (
        done.status == 0
        and done.out.startswith("mean over 2 tables")
        and done.out.count("truth ") == 2
    )


def test_too_few_rows_are_refused(emq: Emq, path: Path, tmp_path: Path) -> None:
    done = emq("bench", "build", "--out", str(tmp_path / "few.table"), *options(tmp_path, 9))
    assert done.status == 0
    done = emq("rank", "bits", "--table", str(tmp_path / "few.table"))
    assert done.status == 2 and "E406" in done.err and "20% of 9 rows are 1" in done.err
    done = emq("rank", "bits", "--table", str(path), "--protocol", "paper", "--split", "search")
    assert done.status == 2 and "the paper draws 50 rows" in done.err


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_a_plot(emq: Emq, path: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"scatter.{suffix}"
    for _ in range(2):
        assert (
            emq(
                "rank", "fisher_error", "--table", str(path), "--draws", "20", "--plot", str(out)
            ).status
            == 0
        )
        data, size = out.read_bytes(), out.stat().st_size
    assert size > 5_000 and data[:4] == {"svg": b"<?xm", "png": b"\x89PNG"}[suffix]


def test_plots_that_cannot_be_drawn(emq: Emq, path: Path, tmp_path: Path) -> None:
    done = emq("rank", "bits", "--table", str(path), "--plot", str(tmp_path / "a.pdf"))
    assert done.status == 2 and "end the name with .svg or .png" in done.err
    done = emq(
        "rank",
        "bits",
        "--table",
        str(path),
        "--table",
        str(path),
        "--plot",
        str(tmp_path / "a.svg"),
    )
    assert done.status == 2 and "--plot is of one table" in done.err


def test_a_name_to_compare_with_must_be_ranked(emq: Emq, path: Path) -> None:
    done = emq("rank", "bits", "--table", str(path), "--against", "bit_sun")
    assert done.status == 1 and "did you mean 'bit_sum'?" in done.err
