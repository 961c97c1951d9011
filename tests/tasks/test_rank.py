"""Rankings of proxies on a small table, from Python and on the command line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Emq
from small_table import options

from emqlang.grammar import library
from emqlang.grammar.inputs import Cost
from emqlang.quant.tables.table import load
from emqlang.scores.correlation import spearman
from emqlang.scores.regret import regret, size_budgets
from emqlang.tasks.eval import evaluate
from emqlang.tasks.rank import RankOptions, RankResult, contenders, rank_on
from emqlang.tasks.workbench import Workbench, WorkbenchOptions


def test_judging_is_arithmetic_on_the_score_table(table: Path) -> None:
    rows = load(str(table))
    bench = Workbench.of_table(rows, WorkbenchOptions(cache=False))
    programs = [
        library.find(text)[0]
        for text in ("fisher_error", "bits", "sqrt(numel)", "1e300 * 1e10 * bits * numel ** 3")
    ]
    found = rank_on(rows, bench, programs, RankOptions(draws=50))
    assert [problem.code for problem in found.problems] == ["E501"] and RankResult(
        (found,)
    ).exit_status == 4
    assert {s.name for s in found.standings} == {"fisher_error", "bits", "sqrt(numel)"}
    (scored,) = evaluate(bench, [programs[0]]).scored
    own = next(s for s in found.standings if s.name == "fisher_error")
    expected = [scored.table.score(row) for row in rows.choices.tolist()]
    assert own.scores == pytest.approx(expected) and own.cost is Cost.BACKWARDS
    assert own.rho[-1] == pytest.approx(spearman(np.array([expected]), rows.accuracy)[0], abs=1e-6)
    sums = next(s for s in found.standings if s.name == "bits")
    assert (sums.scores == rows.bits.sum(1)).all() and sums.cost is Cost.FREE
    lost = regret(own.scores[None], rows.accuracy, rows.size, size_budgets(rows.size))
    assert own.regret == lost[0] >= 0


def test_programs_that_do_not_separate_are_ranked_too(table: Path) -> None:
    rows = load(str(table))
    bench = Workbench.of_table(rows, WorkbenchOptions(cache=False, stat_images=8, label_draws=2))
    programs = [library.find(text)[0] for text in ("fisher_cross", "-total(bits) ** 3")]
    found = rank_on(rows, bench, programs, RankOptions(draws=50))
    assert not found.problems
    scores = {standing.name: standing.scores for standing in found.standings}
    assert (scores["-total(bits) ** 3"] == -(rows.bits.sum(1).astype(float) ** 3)).all()
    (scored,) = evaluate(bench, [programs[0]]).scored
    assert scores["fisher_cross"].tolist() == scored.table.totals(rows.choices).tolist()


def test_baselines_are_in_every_ranking(table: Path) -> None:
    rows = load(str(table))
    given = library.find("fisher_error")
    names = [program.name for program in contenders(given, rows)]
    assert (
        names[0] == "fisher_error"
        and {"bit_sum", "size", "inv_sqrt_numel", "early_first"} < set(names)
        and "emq" not in names
    )
    assert set(library.LIBRARY) == {program.name for program in contenders([], rows)}


def ranked(emq: Emq, *arguments: str) -> dict[str, Any]:
    draws = () if "--protocol" in arguments else ("--draws", "50")
    done = emq("rank", *arguments, *draws, "--json")
    assert done.status == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


def test_rank_on_the_command_line(emq: Emq, table: Path) -> None:
    result = ranked(emq, "fisher_error", "--table", str(table), "--against", "bit_sum")
    (ranking,) = result["tables"]
    assert result["schema"] == "emqlang.rank/1" and ranking["rows"] == 60
    assert ranking["ratios"] == [0.2, 0.5, 1.0]
    proxies = {proxy["name"]: proxy for proxy in ranking["proxies"]}
    assert proxies["bit_sum"]["difference"] == {"low": [0, 0, 0], "high": [0, 0, 0]}
    fitness = [sum(proxy["rho"]) for proxy in ranking["proxies"]]
    assert fitness == sorted(fitness, reverse=True)
    lost = proxies["fisher_error"]["regret"]
    screen = emq("rank", "fisher_error", "--table", str(table), "--draws", "50").out
    assert "fisher_error" in screen and "own: 60 rows" in screen
    (line,) = [line for line in screen.splitlines() if line.startswith("fisher_error")]
    assert "regret" in screen and f"{lost:.2f}" in line.split()
    out = emq("rank", "bits", "--table", str(table), "--draws", "20", "--csv").out
    rows = list(csv.DictReader(io.StringIO(out)))
    assert len(rows) == 7 and rows[0]["table"] == "own" and float(rows[0]["regret"]) >= 0


def test_rank_on_parts_of_a_table(emq: Emq, table: Path) -> None:
    assert (
        ranked(emq, "bits", "--table", str(table), "--split", "search")["tables"][0]["rows"] == 42
    )
    assert (
        ranked(emq, "bits", "--table", str(table), "--split", "heldout")["tables"][0]["rows"] == 18
    )
    paper = ranked(emq, "bits", "--table", str(table), "--protocol", "paper")["tables"][0]
    assert all(proxy["low"] <= proxy["rho"] <= proxy["high"] for proxy in paper["proxies"])
    by_loss, by_score = (
        ranked(emq, "bits", "--table", str(table), *way)
        for way in (("--by", "loss"), ("--topk-by", "score"))
    )
    assert by_loss["tables"][0]["proxies"] != by_score["tables"][0]["proxies"]


def test_several_tables_have_a_mean(emq: Emq, table: Path) -> None:
    done = emq("rank", "bits", "--table", str(table), "--table", str(table), "--draws", "20")
    assert (
        done.status == 0
        and done.out.startswith("mean over 2 tables")
        and done.out.count("truth ") == 2
        and done.out.count("regret") == 3
    )


def test_too_few_rows_are_refused(emq: Emq, table: Path, tmp_path: Path) -> None:
    done = emq("bench", "build", "--out", str(tmp_path / "few.table"), *options(tmp_path, 9))
    assert done.status == 0
    done = emq("rank", "bits", "--table", str(tmp_path / "few.table"))
    assert done.status == 2 and "E406" in done.err and "20% of 9 rows are 1" in done.err
    done = emq("rank", "bits", "--table", str(table), "--protocol", "paper", "--split", "search")
    assert done.status == 2 and "the paper draws 50 rows" in done.err


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_a_plot(emq: Emq, table: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"scatter.{suffix}"
    for _ in range(2):
        few = ("--table", str(table), "--draws", "20")
        assert emq("rank", "fisher_error", *few, "--plot", str(out), "--force").status == 0
        data, size = out.read_bytes(), out.stat().st_size
    assert size > 5_000 and data[:4] == {"svg": b"<?xm", "png": b"\x89PNG"}[suffix]


def test_plots_that_cannot_be_drawn(emq: Emq, table: Path, tmp_path: Path) -> None:
    done = emq("rank", "bits", "--table", str(table), "--plot", str(tmp_path / "a.pdf"))
    assert done.status == 2 and "end the name with .svg or .png" in done.err
    twice = ("--table", str(table), "--table", str(table))
    done = emq("rank", "bits", *twice, "--plot", str(tmp_path / "a.svg"))
    assert done.status == 2 and "--plot is of one table" in done.err


def test_a_name_to_compare_with_must_be_ranked(emq: Emq, table: Path) -> None:
    done = emq("rank", "bits", "--table", str(table), "--against", "bit_sun")
    assert done.status == 1 and "did you mean 'bit_sum'?" in done.err


ENTRY = """
#: menu {menu}
#: images {images}
#: rounding nearest
#: tables own
mine = fisher_qerr
other = fisher_qerr
"""


def made_for(folder: Path, menu: str = "2,3,4", images: int = 32) -> str:
    path = folder / "mine.emq"
    path.write_text(ENTRY.format(menu=menu, images=images))
    return str(path)


def test_a_proxy_has_as_many_images_as_it_was_made_for(
    emq: Emq, table: Path, tmp_path: Path
) -> None:
    own, few, all = (
        {one["name"]: one for one in ranked(emq, *arguments)["tables"][0]["proxies"]}
        for where in [("--table", str(table))]
        for arguments in (
            (made_for(tmp_path), *where),
            (made_for(tmp_path), *where, "--stat-images", "32"),
            (made_for(tmp_path), *where, "--stat-images", "64"),
        )
    )
    assert own["mine"]["images"] == few["mine"]["images"] == 32 and all["mine"]["images"] == 64
    assert own["other"]["images"] == 64 and own["bit_sum"]["images"] is None
    assert own["mine"]["rho"] == few["mine"]["rho"] != all["mine"]["rho"]
    assert own["other"]["rho"] == all["other"]["rho"]
    assert own["mine"]["made_for"] == {
        "menu": "2,3,4",
        "images": 32,
        "draws": 0,
        "rounding": "nearest",
        "tables": ["own"],
    }
    assert own["other"]["made_for"] is None


def test_a_proxy_that_has_seen_the_rows_is_marked(emq: Emq, table: Path, tmp_path: Path) -> None:
    arguments = (made_for(tmp_path), "--table", str(table), "--draws", "20")
    for split, seen in (("all", True), ("search", True), ("heldout", False)):
        done = emq("rank", *arguments, "--split", split)
        assert ("mine †" in done.out) == seen == ("searched on some of these rows" in done.err)
        assert "other †" not in done.out
        record = json.loads(emq("rank", *arguments, "--split", split, "--json").out)
        marks = {one["name"]: one["seen"] for one in record["tables"][0]["proxies"]}
        assert marks["mine"] == seen and not marks["other"]
    means = emq("rank", *arguments, "--table", str(table))
    assert means.out.count("mine †") == 3


def test_a_proxy_on_something_else_is_warned_of(emq: Emq, table: Path, tmp_path: Path) -> None:
    where = ("--table", str(table), "--draws", "20")
    assert "W618" not in emq("rank", made_for(tmp_path), *where).err
    done = emq("rank", made_for(tmp_path, menu="2,4", images=900), *where)
    assert done.status == 0 and "made for a menu of 2,4, and the table's is 2,3,4: mine" in done.err
    assert "statistics of 900 images, and these are of 64: mine" in done.err  # there are 96
