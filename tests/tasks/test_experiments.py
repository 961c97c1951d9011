"""Experiments: trials that are kept, tables and pictures of them, and what they measure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Emq

from emqlang.evolve.settings import ADDED, EvaluationOptions, SearchSettings
from emqlang.experiments import NAMES, layerwise, transfer
from emqlang.experiments.catalogue import EXPERIMENTS
from emqlang.experiments.races import Runner
from emqlang.experiments.transfer import Transfer
from emqlang.experiments.trial import Trial
from emqlang.grammar.library import find_one
from emqlang.quant.tables.shelf import shipped
from emqlang.quant.tables.table import load
from emqlang.tasks.rank import RankOptions, rank
from emqlang.tasks.workbench import Workbench, WorkbenchOptions


def conducted(emq: Emq, name: str, table: Path, out: Path, *more: str) -> list[dict[str, Any]]:
    small = ("--table", str(table), "--stat-images", "16", "--out", str(out))
    done = emq("experiment", name, *small, "--json", *more)
    assert done.status == 0, done.err
    results: list[dict[str, Any]] = json.loads(done.out)["results"]
    return results


def test_they_are_listed(emq: Emq) -> None:
    out = emq("experiment").out
    assert all(name in out for name in NAMES)


def test_panels_and_papers_figures_name_variants_that_there_are() -> None:
    for experiment in EXPERIMENTS.values():
        names = {figure.name for figure in experiment.figures}
        for panel in experiment.panels:
            assert set(panel.variants) <= set(experiment.variants) and set(panel.figures) <= names
        assert all(set(figure.paper) <= set(experiment.variants) for figure in experiment.figures)


def test_every_random_program_has_one_fate(emq: Emq, table: Path, tmp_path: Path) -> None:
    results = conducted(emq, "table3", table, tmp_path / "x", "--seeds", "2", "--size", "40")
    assert len(results) == 14
    for result in results:
        for source in ("paper", "ours"):
            shares = [
                value for name, value in result["figures"].items() if name.endswith(f", {source}")
            ]
            assert not shares or sum(shares) == pytest.approx(1)
    valid = {result["variant"]: result["figures"]["valid, ours"] for result in results}
    assert valid["typed grammar"] > 0.7 > valid["dag"]


def test_searches_race_and_their_trials_are_kept(emq: Emq, table: Path, tmp_path: Path) -> None:
    some = ("--only", "random search", "--only", "evolution", "--size", "60")
    results = conducted(
        emq,
        "figure4",
        table,
        tmp_path / "x",
        "--seeds",
        "2",
        *some,
        "--plot",
        str(tmp_path / "x.svg"),
    )
    assert [(r["variant"], r["seed"]) for r in results] == [
        (v, s) for v in ("evolution", "random search") for s in (0, 1)
    ]
    for result in results:
        x, y = zip(*result["curve"], strict=True)
        assert (
            list(x) == sorted(x) and list(y) == sorted(y) and result["figures"]["fitness"] == y[-1]
        )
    picture = (tmp_path / "x.svg").read_text()
    assert picture.startswith("<?xml") and "random search" in picture
    trials = {path: path.stat().st_mtime_ns for path in (tmp_path / "x").rglob("[01].json")}
    assert len(trials) == 4
    assert conducted(emq, "figure4", table, tmp_path / "x", "--seeds", "2", *some) == results
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "x").rglob("[01].json")} == trials


def test_a_trial_that_was_lost_is_done_again_alike(emq: Emq, table: Path, tmp_path: Path) -> None:
    some = ("--only", "both", "--seeds", "2", "--size", "40")
    results = conducted(emq, "table8", table, tmp_path / "x", *some)
    (tmp_path / "x" / "both" / "1.json").unlink()
    again = conducted(emq, "table8", table, tmp_path / "x", *some, "--workers", "2")
    assert [(r["curve"], r["facts"]) for r in again] == [(r["curve"], r["facts"]) for r in results]
    caught = [r["figures"]["caught"] for r in results]
    assert all(0 < share <= 1 for share in caught)


def test_nothing_is_caught_where_nothing_is_checked(emq: Emq, table: Path, tmp_path: Path) -> None:
    (result,) = conducted(
        emq, "table8", table, tmp_path / "x", "--only", "neither", "--seeds", "1", "--size", "60"
    )
    figures = result["figures"]
    assert (
        figures["caught"] == 0
        and figures["proposals"] == figures["in full"]
        and figures["useful"] < 1
    )


def test_both_ways_of_scoring(emq: Emq, table: Path, tmp_path: Path) -> None:
    results = conducted(
        emq, "layerwise", table, tmp_path / "x", "--seeds", "1", "--size", "12", "--only", "snip"
    )
    figures = results[0]["figures"]
    assert all(-1 <= figures[name] <= 1 for name in ("separable", "recomputed", "agreement"))
    assert figures["recomputed, s"] > figures["separable, s"] > 0


def test_a_quantized_network_has_few_values_a_channel(table: Path) -> None:
    bench = Workbench.of_table(load(str(table)), WorkbenchOptions(stat_images=16, cache=False))
    choices = [0, 1, 2, 0]  # 2, 3, 4, 2 bits
    network = layerwise._quantized(bench, choices)
    for layer, before, choice in zip(
        network.collection.layers, bench.network.collection.layers, choices, strict=True
    ):
        rows, plain = layer.rows(layer.weight.detach()), before.rows(before.weight.detach())
        counts = [len(np.unique(np.round(row.numpy(), 5))) for row in rows]
        assert max(counts) <= 2 ** (2 + choice) and not rows.equal(plain)
        assert float((rows - plain).abs().max()) < float(plain.abs().max())


def test_a_family_that_is_left_out_judges_what_was_found(table: Path, tmp_path: Path) -> None:
    """With one small table for both sides: what is written is what ranking by the text gives."""
    name, options = str(table), EvaluationOptions((str(table),), stat_images=8, label_draws=2)
    settings = SearchSettings(inputs=("shift", "bits"), islands=1, population=8, offspring=8)
    variants = {
        "found": Transfer((name,), "all", Runner(settings, (name,))),
        "fisher_cross": Transfer((name,), "all", proxy="fisher_cross"),
    }
    found, fixed = (
        transfer.transfer(variants, Trial(each, 0, 60, options, tmp_path / each))
        for each in variants
    )
    assert found.figures["fitness"] > 0 and found.facts["text"] == found.facts["winner"]
    for text, result in ((found.facts["text"], found), ("fisher_cross", fixed)):
        program = find_one(text)
        bench = WorkbenchOptions(stat_images=8, label_draws=2)
        (ranking,) = rank([program], [name], RankOptions(draws=2), bench).rankings
        (standing,) = [one for one in ranking.standings if one.program.text == program.text]
        figures = result.figures["@20%"], result.figures["@50%"], result.figures["@100%"]
        assert figures == pytest.approx(tuple(standing.rho), abs=1e-9)
        assert result.figures["regret"] == pytest.approx(standing.regret)
        assert result.figures["least"] == figures[2]
    assert "short, @100%" in found.figures
    again = transfer.transfer(variants, Trial("found", 0, 60, options, tmp_path / "found"))
    assert again.facts == found.facts


def test_no_table_is_searched_and_judges() -> None:
    variants = transfer.TRANSFERS
    assert {*transfer.TABLES} <= {*shipped()}
    searches = {name: one for name, one in variants.items() if one.runner}
    assert {*searches} == {
        f"{place}{space}"
        for place in (*(f"{family} left out" for family in transfer.FAMILIES), "all families")
        for space in ("", ", additive")
    }
    for name, one in searches.items():
        assert one.runner is not None
        both = {*one.runner.tables} & {*one.judges}
        assert (both == set()) == (one.split == "all") == ("left out" in name)
        assert {*one.runner.tables} | {*one.judges} == {*transfer.TABLES}
        beside = [v for v in variants.values() if v.proxy and v.judges == one.judges]
        assert len(beside) == len(transfer.FORMULAS)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("tabel3",), 1, "did you mean 'table3'?"),
        (("figure4", "--only", "evolutoin"), 1, "did you mean 'evolution'?"),
        (("table3", "--plot", "x.pdf"), 2, "end the name with .svg or .png"),
        (("table3", "--seeds", "0"), 2, "--seeds"),
        (("table3", "--label-draws", "2"), 2, "only 'transfer' has values for each image"),
        (("transfer", "--table", "vgg-fmnist-all"), 2, "have their own tables"),
    ],
)
def test_bad_options(
    emq: Emq, tmp_path: Path, arguments: tuple[str, ...], status: int, said: str
) -> None:
    done = emq("experiment", *arguments, "--out", str(tmp_path / "x"))
    assert done.status == status and said in done.err and "Traceback" not in done.err
    assert not (tmp_path / "x").exists()


def test_a_folder_holds_one_experiment(emq: Emq, table: Path, tmp_path: Path) -> None:
    conducted(
        emq, "figure4", table, tmp_path / "x", "--only", "evolution", "--seeds", "1", "--size", "30"
    )
    for more in (
        ("table8",),
        ("figure4", "--size", "31"),
        ("figure4", "--stat-images", "8", "--size", "30"),
    ):
        done = emq("experiment", *more, "--table", str(table), "--out", str(tmp_path / "x"))
        assert done.status == 3 and "E316" in done.err and "other trials" in done.err


def test_a_folder_of_before_statistics_had_a_rounding_goes_on(
    emq: Emq, table: Path, tmp_path: Path
) -> None:
    some = ("--only", "evolution", "--size", "30", "--seeds")
    before = conducted(emq, "figure4", table, tmp_path / "x", *some, "1")
    facts = tmp_path / "x" / "experiment.json"
    record = json.loads(facts.read_text())
    for name in ADDED:
        del record["judged"][name]
    facts.write_text(json.dumps(record))
    assert conducted(emq, "figure4", table, tmp_path / "x", *some, "2")[:1] == before
    facts.write_text(json.dumps({**record, "judged": 3}))
    done = emq("experiment", "figure4", "--table", str(table), "--out", str(tmp_path / "x"))
    assert done.status == 3 and "E301" in done.err


def test_force_replaces_the_picture_and_the_trials_of_others_only(
    emq: Emq, table: Path, tmp_path: Path
) -> None:
    out, picture = tmp_path / "x", tmp_path / "x.svg"
    some = ("--only", "both", "--seeds", "1", "--size", "40", "--plot", str(picture))
    results = conducted(emq, "table8", table, out, *some)
    (trial,) = out.rglob("0.json")
    before = trial.stat().st_mtime_ns
    assert emq("experiment", "table8", "--out", str(out), *some).status != 0  # the picture is there
    assert conducted(emq, "table8", table, out, *some, "--force") == results
    assert trial.stat().st_mtime_ns == before
    other = [*some[:5], "30", *some[6:]]
    assert conducted(emq, "table8", table, out, *other, "--force") != results
    assert trial.stat().st_mtime_ns > before


def test_one_trial_has_no_deviation(emq: Emq, table: Path, tmp_path: Path) -> None:
    small = ("--table", str(table), "--stat-images", "16", "--out", str(tmp_path), "--size", "40")
    assert emq("experiment", "table8", *small, "--only", "both", "--seeds", "2").status == 0
    shown = emq("experiment", "table8", *small, "--only", "neither", "--seeds", "1").out
    again = emq("experiment", "table8", *small, "--only", "both", "--seeds", "2").out
    lines = {line.split("  ")[0]: line for line in again.splitlines() if "%" in line}
    assert "±" in lines["both"] and "±" not in lines["neither"] and "±" not in shown
