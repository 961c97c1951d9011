"""An edge table, built and ranked through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from commands import Emq
from small_table import options

from emqlang.cli import run
from emqlang.grammar import LIBRARY
from emqlang.quant.tables.table import Table, load
from emqlang.scores.bootstrap import bootstrap
from emqlang.scores.correlation import RATIOS, Truth, at_top, partial, precision
from emqlang.scores.ranks import kendall_tau
from emqlang.scores.regret import regret
from emqlang.tasks.rank import Ranking, RankOptions, rank_on
from emqlang.tasks.truth import own_correlation
from emqlang.tasks.workbench import Workbench, WorkbenchOptions

ROWS = 120


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("edge")
    path = folder / "edge.table"
    more = ("--sample", "edge", "--menu", "2,3,4,5,6,7")
    assert run(["bench", "build", "--out", str(path), *options(folder, ROWS), *more]) == 0
    return path


def strata(table: Table) -> list[np.ndarray]:
    limits = np.array(table.budgets)
    smallest = np.array([limits[limits >= size].min() for size in table.size])
    return [np.flatnonzero(smallest == limit) for limit in limits]


def ranking(table: Table, split: str = "all") -> Ranking:
    bench = Workbench.of_table(table, WorkbenchOptions(cache=False))
    programs = [LIBRARY["fisher_error"], LIBRARY["bit_sum"]]
    return rank_on(table, bench, programs, RankOptions(split=split, draws=20))


def test_a_table_has_its_budgets(edge: Path) -> None:
    table = load(str(edge))
    assert len(table) == ROWS and len(table.budgets) == 8 and table.spec.sample == "edge"
    assert [len(rows) for rows in strata(table)] == [ROWS // 8] * 8
    assert table.search.sum() == round(0.7 * ROWS)
    for rows in strata(table):
        assert abs(table.search[rows].sum() - 0.7 * len(rows)) <= 1
    assert table.take(np.arange(9)).budgets == table.budgets


def test_the_same_command_goes_on(edge: Path, emq: Emq) -> None:
    more = ("--sample", "edge", "--menu", "2,3,4,5,6,7")
    done = emq("bench", "build", "--out", str(edge), *options(edge.parent, ROWS), *more)
    assert done.status == 0 and f"{ROWS}, as before" in done.out
    done = emq("bench", "build", "--out", str(edge), *options(edge.parent, ROWS), *more[2:])
    assert done.status == 3 and "sample is uniform, not edge" in done.err


def test_figures_are_means_over_budgets(edge: Path) -> None:
    table = load(str(edge))
    for one in ranking(table).standings:
        each = [
            (one.scores[None, rows], table.accuracy[rows], table.size[rows].astype(float))
            for rows in strata(table)
        ]
        for place, ratio in enumerate(RATIOS):
            expected = np.mean([at_top(scores, truth, ratio) for scores, truth, _ in each])
            assert one.rho[place] == pytest.approx(expected)
        assert one.tau == pytest.approx(np.mean([kendall_tau(s, t) for s, t, _ in each]))
        assert one.precision == pytest.approx(np.mean([precision(s, t, 0.2) for s, t, _ in each]))
        assert one.partial == pytest.approx(np.mean([partial(s, t, z) for s, t, z in each]))
        limits = np.array(table.budgets, float)
        assert one.regret == regret(one.scores[None], table.accuracy, table.size, limits)[0]


def test_intervals_resample_rows_within_budgets() -> None:
    """Two strata whose levels differ: among all rows a score of the level alone ranks well."""
    rng = np.random.default_rng(0)
    levels = np.repeat([0, 1], 30)
    truth = levels + 0.1 * rng.random(60)
    scores = np.stack([levels + 0.0, truth])
    draws = bootstrap(scores, Truth(truth), rng, 200, strata=levels).draws
    assert (draws[:, :, 0] == 0).all() and draws[:, :, 1] == pytest.approx(1)
    assert bootstrap(scores, Truth(truth), rng, 200).draws[:, -1, 0].mean() > 0.8


def test_ceilings_and_own_bits_are_within_budgets(edge: Path, emq: Emq) -> None:
    table = load(str(edge))
    own = own_correlation(table)
    assert own.shape == (len(table.groups),)
    info = json.loads(emq("bench", "info", str(edge), "--json").out)
    assert {ceiling["name"] for ceiling in info["ceilings"]} == {"images", "additive"}
    shown = " ".join(emq("bench", "info", str(edge)).out.split())  # a long path wraps the line
    assert "at the edges of 8 size budgets" in shown
    assert emq("bench", "validate", str(edge), "--network").status == 0


def test_rank_and_evolve_on_the_command_line(edge: Path, emq: Emq, tmp_path: Path) -> None:
    done = emq("rank", "bits", "--table", str(edge), "--draws", "20")
    assert done.status == 0 and "within 8 size budgets" in done.out
    (record,) = json.loads(
        emq("rank", "bits", "--table", str(edge), "--draws", "20", "--json").out
    )["tables"]
    assert record["budgets"] == list(load(str(edge)).budgets)
    done = emq("rank", "bits", "--table", str(edge), "--protocol", "paper")
    assert done.status == 2 and "E403" in done.err and "within its budgets" in done.err
    out = tmp_path / "r"
    small = ("--islands", "1", "--population", "8", "--inputs", "w,qerr,bits", "--steps", "2")
    done = emq("evolve", "--table", str(edge), "--out", str(out), *small, "--json")
    assert done.status == 0, done.err
    best = json.loads(done.out)["front"][-1]
    assert best["heldout"] is None  # five rows of each budget: one is 20 % of them
    winners = tmp_path / "w.emq"
    assert emq("front", str(out), "--emq", str(winners)).status == 0
    where = ("--table", str(edge), "--split", "search", "--draws", "20", "--json")
    (ranked,) = json.loads(emq("rank", str(winners), *where).out)["tables"]
    (one,) = [p for p in ranked["proxies"] if p["name"] == f"evolved_{best['number']}"]
    assert one["rho"] == pytest.approx(best["rho"], abs=1e-9)
