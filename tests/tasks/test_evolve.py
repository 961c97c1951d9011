"""Searches on the command line: neither kills, Ctrl-C nor workers change a row of a run."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from background import run_until
from commands import Emq, Result
from runs import rows_of
from small_table import options

from emqlang.cli import run
from emqlang.evolve.ledger import FILE, Ledger
from emqlang.evolve.reasons import MEANINGS, Reason
from emqlang.grammar.expr import inputs
from emqlang.grammar.files import load_file
from emqlang.grammar.program import parse
from emqlang.tasks import evolve


def search_options(table: Path, *more: str) -> tuple[str, ...]:
    small = ("--islands", "3", "--population", "16", "--stat-images", "16")
    return ("--table", str(table), *small, "--inputs", "w,grad,qerr,fisher,bits", *more)


def evolved(emq: Emq, folder: Path, table: Path, *more: str) -> Result:
    done = emq("evolve", "--out", str(folder), *search_options(table, *more))
    assert done.status == 0, done.err
    return done


def command(folder: Path, table: Path, *more: str) -> tuple[str, ...]:
    return ("evolve", "--out", str(folder), *search_options(table, *more))


def test_any_number_of_workers_writes_the_same_rows(emq: Emq, table: Path, tmp_path: Path) -> None:
    for count in ("1", "3"):  # 2, below
        evolved(emq, tmp_path / count, table, "--steps", "6", "--workers", count)
    assert rows_of(tmp_path / "1") == rows_of(tmp_path / "3")


def test_what_is_said_at_the_end(emq: Emq, table: Path, tmp_path: Path) -> None:
    done = evolved(emq, tmp_path / "r", table, "--steps", "5")
    assert (
        "what became of them" in done.out
        and "it was scored" in done.out
        and f"--resume {tmp_path / 'r'}" in done.err
    )
    again = json.loads(emq("evolve", "--resume", str(tmp_path / "r"), "--steps", "5", "--json").out)
    assert again["steps"] == 5 and again["front"] and not again["interrupted"]
    assert again["facts"]["settings"]["islands"] == 3 and again["facts"]["judged"]["tables"] == [
        str(table)
    ]


def test_held_out_figures_stand_beside_the_fitness(emq: Emq, table: Path, tmp_path: Path) -> None:
    done = evolved(emq, tmp_path / "r", table, "--steps", "5", "--additive")
    assert (
        "held out" in done.out
        and "regret" in done.out
        and "W617" in done.err
        and "the search saw 42 rows" in done.err
    )
    again = json.loads(emq("evolve", "--resume", str(tmp_path / "r"), "--steps", "5", "--json").out)
    best, winners = again["front"][-1], tmp_path / "w.emq"
    assert emq("front", str(tmp_path / "r"), "--emq", str(winners)).status == 0
    lines = ["#: menu 2,3,4", "#: images 16", "#: rounding nearest", "#: tables own"]
    assert all(line in winners.read_text() for line in lines)
    for split, figures in (("heldout", best["heldout"]), ("search", best)):
        where = ("--table", str(table), "--split", split, "--draws", "20", "--json")
        (ranking,) = json.loads(emq("rank", str(winners), *where).out)["tables"]
        (one,) = [p for p in ranking["proxies"] if p["name"] == f"evolved_{best['number']}"]
        assert one["rho"] == pytest.approx(figures["rho"], abs=1e-9)
        assert one["images"] == (
            16 if {"grad", "fisher"} & {*inputs(parse(one["text"]).expr)} else None
        )
        assert one["seen"] == (split == "search")
        if split == "heldout":
            assert one["regret"] == pytest.approx(figures["regret"])
    assert best["heldout"]["fitness"] == pytest.approx(sum(best["heldout"]["rho"]) / 3)


def test_programs_that_do_not_separate_are_searched_and_written(
    emq: Emq, table: Path, tmp_path: Path
) -> None:
    """By any number of workers, with labels drawn; everything that reads a run takes them."""
    folder, winners = tmp_path / "1", tmp_path / "w.emq"
    small = ("--table", str(table), "--islands", "2", "--population", "12", "--stat-images", "8")
    words = (*small, "--inputs", "shift,bits", "--label-draws", "2", "--steps", "5")
    for count in ("1", "2"):
        done = emq("evolve", "--out", str(tmp_path / count), *words, "--workers", count)
        assert done.status == 0, done.err
    assert rows_of(folder) == rows_of(tmp_path / "2")
    listed = json.loads(emq("top", str(folder), "--count", "99", "--json").out)["programs"]
    joint = [one for one in listed if not parse(one["text"]).separable]
    assert joint and emq("top", str(folder), "--count", "99", "--emq", str(winners)).status == 0
    for words in (("lineage", str(joint[0]["number"])), ("why", joint[0]["text"])):
        assert emq(words[0], str(folder), words[1]).status == 0
    said = winners.read_text()
    assert "statistics of 8 images with 2 labels drawn for each" in said and "#: draws 2" in said
    where = ("--table", str(table), "--split", "search", "--draws", "20")
    ranked = emq("rank", str(winners), *where, "--json")
    figures = {p["name"]: p["rho"] for p in json.loads(ranked.out)["tables"][0]["proxies"]}
    for one in joint:
        assert figures[f"evolved_{one['number']}"] == pytest.approx(one["rho"], abs=1e-9)


def test_a_search_on_all_rows_leaves_none_to_judge_on(
    emq: Emq, table: Path, tmp_path: Path
) -> None:
    done = evolved(emq, tmp_path / "r", table, "--steps", "2", "--split", "all", "--json")
    assert all(entry["heldout"] is None for entry in json.loads(done.out)["front"])
    assert emq("top", str(tmp_path / "r"), "--emq", str(tmp_path / "w.emq")).status == 0
    assert "#: tables own:all" in (tmp_path / "w.emq").read_text()


def count(folder: Path) -> int:
    if not (folder / FILE).exists():
        return 0
    with sqlite3.connect(folder / FILE, timeout=30) as connection:
        found = connection.execute("SELECT max(step) FROM steps").fetchone()[0]
        return 0 if found is None else int(found) + 1


def reached(folder: Path, steps: int) -> bool:
    return count(folder) >= steps


@pytest.fixture(scope="module")
def whole(table: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The rows of a run that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole")
    assert run(command(folder / "r", table, "--steps", "30")) == 0
    return rows_of(folder / "r")


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "kills"), [("1", 2), ("2", 1)])
def test_a_run_that_is_killed_goes_on_as_if_it_had_not_been(
    emq: Emq, table: Path, tmp_path: Path, whole: list[Any], workers: str, kills: int
) -> None:
    folder, rng = tmp_path / "killed", random.Random(int(workers))
    rest = ("--steps", "30", "--workers", workers)
    again = ("evolve", "--resume", str(folder), *rest)
    for kill in range(kills):
        arguments = again if kill else command(folder, table, *rest)
        steps = count(folder) + rng.randint(2, 9)
        run_until(partial(reached, folder, steps), arguments, rng.random() * 0.05)
    assert 0 < count(folder) < 30
    done = emq(*again)
    assert done.status == 0 and rows_of(folder) == whole


@pytest.mark.slow
def test_ctrl_c_finishes_the_step_and_shows_the_front(
    emq: Emq, table: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "r"
    arguments = command(folder, table, "--steps", "5000", "--workers", "2")
    with subprocess.Popen(
        [sys.executable, "-m", "emqlang", *arguments],
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while process.poll() is None and not reached(folder, 2):
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "fitness" in out and "Traceback" not in err, err
    steps = count(folder)
    with sqlite3.connect(folder / FILE) as connection:
        query = "SELECT count(DISTINCT island) FROM steps WHERE step = ?"
        assert connection.execute(query, (steps - 1,)).fetchone() == (3,)
    evolved(emq, tmp_path / "whole", table, "--steps", str(steps))
    assert rows_of(folder) == rows_of(tmp_path / "whole")


def test_reading_a_run(emq: Emq, table: Path, tmp_path: Path) -> None:
    folder, emq_file = tmp_path / "r", tmp_path / "winners.emq"
    evolved(emq, folder, table, "--steps", "5")
    best = json.loads(emq("top", str(folder), "--count", "3", "--json").out)["programs"]
    assert [p["fitness"] for p in best] == sorted(
        (p["fitness"] for p in best), reverse=True
    ) and len(best) == 3
    shown = emq("front", str(folder), "--emq", str(emq_file))
    assert shown.status == 0 and "nodes" in shown.out
    file = load_file(str(emq_file))
    assert all(program.description.startswith("Program") for program in file.proxies.values())
    assert (
        emq("check", str(emq_file)).status == 0
        and emq("rank", str(emq_file), "--table", str(table)).status == 0
    )
    assert str(best[0]["number"]) in emq("lineage", str(folder), str(best[0]["number"])).out
    with sqlite3.connect(folder / FILE) as connection:
        ((rejected, reason),) = connection.execute(
            "SELECT id, reason FROM programs WHERE fitness IS NULL ORDER BY id DESC LIMIT 1"
        ).fetchall()
    shown = emq("lineage", str(folder), str(rejected))
    assert shown.status == 0 and MEANINGS[Reason(reason)] in " ".join(shown.out.split())
    assert "it was scored" in emq("why", str(folder), str(best[0]["number"])).out
    assert "it was scored" in emq("why", str(folder), best[0]["text"]).out
    assert emq("why", str(folder), "macs ** 7.125").status == 1
    assert emq("why", str(folder), "99999").status == 2
    few = json.loads(emq("top", str(folder), "--where", "nodes <= 4", "--json").out)["programs"]
    assert all(p["nodes"] <= 4 for p in few)


@pytest.mark.parametrize(
    ("more", "status", "said"),
    [
        (("--inputs", "w,gard"), 1, "did you mean 'grad'?"),
        (("--ops", "abs,sqrrt"), 1, "did you mean 'sqrt'?"),
        (("--inputs", "w", "--ops", "abs"), 2, "E408"),
        (("--table", "no-such-table"), 3, "there is no benchmark table"),
        (("--algorithm", "emq", "--without", "osb"), 2, "did you mean 'osp'?"),
        (
            ("--algorithm", "emq", "--semantics", "paper", "--inputs", "qerr"),
            2,
            "depends on the choice",
        ),
        (("--budget", "soon"), 2, "is not a duration"),
        (("--resume", "here"), 2, "--out is not used beside --resume"),
    ],
)
def test_bad_options(
    emq: Emq, table: Path, tmp_path: Path, more: tuple[str, ...], status: int, said: str
) -> None:
    done = emq("evolve", "--out", str(tmp_path / "r"), *search_options(table, *more))
    assert done.status == status and said in done.err and "Traceback" not in done.err, done.err
    assert not (tmp_path / "r").exists()


def test_a_table_with_too_few_rows(emq: Emq, tmp_path: Path) -> None:
    assert (
        emq("bench", "build", "--out", str(tmp_path / "few.table"), *options(tmp_path, 12)).status
        == 0
    )
    done = emq(
        "evolve",
        "--out",
        str(tmp_path / "r"),
        *search_options(tmp_path / "few.table", "--steps", "2"),
    )
    assert done.status == 2 and "E406" in done.err


def test_runs_are_not_written_over_and_not_mixed_up(
    emq: Emq, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "r"
    evolved(emq, folder, table, "--steps", "2")
    done = emq("evolve", "--out", str(folder), *search_options(table))
    assert done.status == 3 and "holds a run already" in done.err
    with monkeypatch.context() as other:
        other.setattr("emqlang.tasks.evolve.VERSION", "0.0.1")
        done = emq("evolve", "--resume", str(folder), "--steps", "3")
    assert done.status == 3 and "E316" in done.err and "and is 0.0.1" in done.err
    assert emq("front", str(tmp_path)).status == 3
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / FILE).write_text("no database")
    done = emq("top", str(tmp_path / "bad"))
    assert done.status == 3 and "E316" in done.err


def test_a_search_sees_the_errors_that_learned_rounding_leaves(
    emq: Emq, table: Path, tmp_path: Path
) -> None:
    """Its programs read them, a resumed run sees them, too, and its file of winners says so."""
    words = (*search_options(table)[:-2], "--inputs", "qerr,bits", "--steps", "3")
    learned, best = (
        ("--rounding", "adaround", "--iters", "40", "--calib-images", "64"),
        dict[str, float](),
    )
    for name, more in (("near", ()), ("learned", learned)):
        done = emq("evolve", "--out", str(tmp_path / name), *words, *more)
        assert done.status == 0, done.err
        resumed = ("--resume", str(tmp_path / name), "--steps", "4", "--json")
        again = json.loads(emq("evolve", *resumed).out)
        assert again["facts"]["judged"]["stat_rounding"] == (more[1] if more else "nearest")
        best[name] = again["front"][-1]["fitness"]
    assert best["near"] != best["learned"]
    where = ("--table", str(table), "--split", "search", "--draws", "20", "--json")
    for name, more in (("near", ()), ("learned", learned)):
        winners = tmp_path / f"{name}.emq"
        assert emq("front", str(tmp_path / name), "--emq", str(winners)).status == 0
        assert ("the errors that adaround leaves" in winners.read_text()) == bool(more)
        (ranking,) = json.loads(emq("rank", str(winners), *where, *more).out)["tables"]
        fitness = [sum(one["rho"]) / 3 for one in ranking["proxies"]]
        assert any(each == pytest.approx(best[name], abs=1e-9) for each in fitness)
    for refused, said in (
        (("--rounding", "adaround", "--inputs", "w,grad"), "--rounding is not used"),
        (("--iters", "40"), "--iters is not used with --rounding nearest"),
    ):
        done = emq("evolve", "--table", str(table), "--out", str(tmp_path / "x"), *refused)
        assert done.status == 2 and said in done.err


def made_old(folder: Path) -> None:
    """The run as the version before digests wrote it."""
    with sqlite3.connect(folder / FILE) as connection:
        connection.execute("DROP INDEX without_digest")
        for sealed in Ledger.KIND.sealed:
            connection.execute(f"ALTER TABLE {sealed} DROP COLUMN digest")
        for column in ("programs", "variants"):
            connection.execute(f"ALTER TABLE times DROP COLUMN {column}")
        connection.execute("DELETE FROM facts WHERE name = 'digest'")
        connection.execute("UPDATE facts SET value = '\"emqlang-run-1\"' WHERE name = 'format'")


def test_a_run_without_digests_goes_on_and_keeps_its_warning(
    emq: Emq, table: Path, tmp_path: Path
) -> None:
    folder, whole = tmp_path / "r", tmp_path / "whole"
    evolved(emq, whole, table, "--steps", "5")
    evolved(emq, folder, table, "--steps", "3")
    made_old(folder)
    assert "W610" in emq("front", str(folder)).err
    done = emq("evolve", "--resume", str(folder), "--steps", "5")
    assert done.status == 0 and "W610" in done.err
    assert rows_of(folder, digests=False) == rows_of(whole, digests=False)
    assert "W610" in emq("front", str(folder)).err
    with sqlite3.connect(folder / FILE) as connection:
        connection.execute("UPDATE programs SET fitness = 0.9999 WHERE id = 3")
    assert "E316" in emq("front", str(folder)).err


def test_a_changed_table_is_refused_by_name(emq: Emq, table: Path, tmp_path: Path) -> None:
    own = Path(shutil.copy(table, tmp_path / "own.table"))
    folder = tmp_path / "r"
    evolved(emq, folder, own, "--steps", "2")
    assert (
        emq(
            "bench",
            "build",
            "--out",
            str(tmp_path / "other.table"),
            *options(table.parent, 60),
            "--seed",
            "1",
        ).status
        == 0
    )
    shutil.copy(tmp_path / "other.table", own)
    evolve._ARENAS.clear()
    done = emq("evolve", "--resume", str(folder), "--steps", "3")
    assert done.status == 3 and "E316" in done.err and "the tables, their networks" in done.err


def test_a_run_finds_a_place_of_its_own(
    emq: Emq, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        assert emq("evolve", *search_options(table, "--steps", "1")).status == 0
        assert (tmp_path / "runs" / f"evolve-{number}" / FILE).exists()
