"""Runs: what is found, what is written down, and that neither kills, Ctrl-C nor workers change a row of it."""

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
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arenas import PLANTED, arena, names
from commands import Emq, Result
from small_table import options

from emqlang.cli import run as emqlang
from emqlang.evolve.arena import Open
from emqlang.evolve.history import entry, front, lineage, of_program, top
from emqlang.evolve.ledger import FILE, Ledger
from emqlang.evolve.reasons import MEANINGS, Reason
from emqlang.evolve.search import Budget, Search, migration
from emqlang.evolve.settings import Settings, papers
from emqlang.grammar.canonical.form import key
from emqlang.grammar.diagnostics import EmqError
from emqlang.grammar.expr import elaborate
from emqlang.grammar.files import load_file
from emqlang.grammar.program import parse
from emqlang.tasks.workers import Workers

SMALL = Settings(
    inputs=tuple(names()), islands=2, population=24, offspring=16, migrate=3, max_nodes=12
)


def searched(
    folder: Path, settings: Settings = SMALL, budget: Budget = Budget(steps=12), place: Any = None
) -> Ledger:  # noqa: B008
    ledger = Ledger.create(folder, {"settings": settings.as_dict()})
    Search(ledger, Open(place or arena()), Workers().run).advance(budget, lambda *_: None)
    return ledger


def rows_of(folder: Path) -> list[Any]:
    """Every row that does not tell the time."""
    found = []
    with sqlite3.connect(folder / FILE) as connection:
        for table in ("programs", "steps", "populations", "variants"):
            found += connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
    return found


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    return searched(tmp_path_factory.mktemp("run") / "r", budget=Budget(steps=120))


def test_the_planted_program_is_found(ledger: Ledger) -> None:
    best = top(ledger, 1)[0]
    assert best.fitness is not None and best.fitness > 0.98, best.text


def test_a_row_for_every_distinct_program(ledger: Ledger) -> None:
    rows = ledger.select(
        "SELECT key, opposite, text, reason, fitness, repeats, step, island FROM programs ORDER BY id"
    )
    keys = [row[0] for row in rows]
    assert len(set(keys)) == len(keys) > 500 and not set(keys) & {row[1] for row in rows if row[1]}
    for digest, _, text, reason, fitness, *_ in rows[:200]:
        assert key(parse(text).expr) == digest and (reason == "") <= (fitness is not None)
    assert [row[-2:] for row in rows] == sorted(row[-2:] for row in rows), (
        "in the order of step and island"
    )


def test_every_proposal_is_counted(ledger: Ledger) -> None:
    progress = ledger.progress()
    assert progress is not None and progress.step == 119
    counted = Counter(row[0] for row in ledger.select("SELECT reason FROM programs"))
    shared = sum(progress.funnel.values()) - sum(counted.values()) - progress.funnel[Reason.SEEN]
    assert 0 <= shared < 120, "two islands may come upon one program in the same step"
    (repeats,) = ledger.select("SELECT sum(repeats) FROM programs")[0]
    assert repeats >= progress.funnel[Reason.SEEN] and set(progress.funnel) <= {
        reason.value for reason in MEANINGS
    }
    assert progress.evaluated == ledger.select("SELECT sum(evaluated) FROM steps")[0][0]


def test_parents_come_before_their_offspring(ledger: Ledger) -> None:
    for number, parents, operator in ledger.select("SELECT id, parents, operator FROM programs"):
        assert all(0 < parent < number for parent in json.loads(parents))
        assert bool(json.loads(parents)) == (operator != "random")


def test_what_has_equal_scores_is_told_from_what_was_first(ledger: Ledger) -> None:
    found = ledger.select("SELECT id, same, fitness FROM programs WHERE reason = 'same_scores'")
    assert found and all(same < number for number, same, _ in found)
    ranked_alike = [
        entry(ledger, same).fitness == pytest.approx(fitness, abs=1e-3)
        for _, same, fitness in found
    ]
    assert np.mean(ranked_alike) > 0.9, (
        "not all: scores that agree in every entry to 20 bits may still break ties otherwise"
    )


def test_populations_hold_each_program_once(ledger: Ledger) -> None:
    for place in range(2):
        members = ledger.members(place)
        assert (
            24 <= len({member.number for member in members}) == len(members) <= 24 + SMALL.migrants
        )


def test_migrants_are_the_neighbours_best() -> None:
    settings = Settings(islands=3, migrants=1)
    populations = [[(1, 0.5, "a"), (2, 0.7, "b")], [(3, 0.1, "c")], [(4, 0.9, "d")]]
    moved = migration(settings)(populations)
    assert [own[-1][0] for own in moved] == [4, 2, 3] and [len(own) for own in moved] == [3, 2, 2]


def test_the_front_rises_with_size(ledger: Ledger) -> None:
    found = front(ledger)
    assert [e.nodes for e in found] == sorted({e.nodes for e in found})
    fitness = [e.fitness or 0.0 for e in found]
    assert fitness == sorted(fitness) and fitness[-1] == top(ledger, 1)[0].fitness


def test_conditions(ledger: Ledger) -> None:
    found = top(ledger, 10, "nodes <= 6 and cost == 0 and fitness > 0.1")
    assert found and all(e.nodes <= 6 and e.cost == "free" for e in found)
    for wrong in (
        "nodes <",
        "size <= 3",
        "nodes <= 3 or id > 1",
        "nodes <= 3; drop table programs",
    ):
        with pytest.raises(EmqError) as refused:
            top(ledger, 1, wrong)
        assert refused.value.diagnostics[0].code == "E403"


def test_lineage_goes_back_to_what_was_random(ledger: Ledger) -> None:
    best = top(ledger, 1)[0]
    found = list(lineage(ledger, best.number))
    assert found[0] == (0, best) and len({e.number for _, e in found}) == len(found) > 2
    assert all(e.operator == "random" for _, e in found if not e.parents)


def test_a_program_is_found_by_its_meaning(ledger: Ledger) -> None:
    best = top(ledger, 1)[0]
    for text in (best.text, f"-({best.text})", f"0 + ({best.text}) * 1"):
        found = of_program(ledger, elaborate(parse(text).expr))
        assert found is not None and found.number == best.number
    assert of_program(ledger, elaborate(parse("macs ** 7.123").expr)) is None


def test_stopped_and_gone_on_with_is_the_same_run(tmp_path: Path) -> None:
    searched(tmp_path / "whole")
    searched(tmp_path / "parts", budget=Budget(steps=5))
    for steps in (6, 12):
        again = Ledger.open(tmp_path / "parts")
        Search(again, Open(arena()), Workers().run).advance(Budget(steps=steps), lambda *_: None)
    assert rows_of(tmp_path / "whole") == rows_of(tmp_path / "parts")


def test_the_papers_search_too(tmp_path: Path) -> None:
    settings = papers(rows=50, islands=2)
    searched(tmp_path / "whole", settings)
    searched(tmp_path / "parts", settings, Budget(steps=7))
    Search(Ledger.open(tmp_path / "parts"), Open(arena()), Workers().run).advance(
        Budget(steps=12), lambda *_: None
    )
    assert rows_of(tmp_path / "whole") == rows_of(tmp_path / "parts")


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    one, two = (searched(tmp_path / str(s), replace(SMALL, seed=s)) for s in (0, 1))
    assert top(one, 5) != top(two, 5)


def test_budgets(tmp_path: Path) -> None:
    progress = searched(tmp_path / "a", budget=Budget(evals=100)).progress()
    assert progress is not None and 100 <= progress.evaluated < 200
    progress = searched(tmp_path / "b", budget=Budget(seconds=0.3)).progress()
    assert progress is not None and progress.step >= 0


def test_a_full_disk_leaves_the_last_step(tmp_path: Path) -> None:
    ledger = searched(tmp_path / "r", budget=Budget(steps=3))
    before = rows_of(tmp_path / "r")
    (pages,) = ledger.select("PRAGMA page_count")[0]
    ledger.select(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(EmqError, match="full") as refused:
        Search(ledger, Open(arena()), Workers().run).advance(Budget(steps=9), lambda *_: None)
    assert refused.value.diagnostics[0].code == "E301"
    ledger.close()
    whole = rows_of(tmp_path / "r")
    assert [row for row in before if row in whole] == before or len(whole) >= len(before)
    Search(Ledger.open(tmp_path / "r"), Open(arena()), Workers().run).advance(
        Budget(steps=9), lambda *_: None
    )
    searched(tmp_path / "other", budget=Budget(steps=9))
    assert rows_of(tmp_path / "r") == rows_of(tmp_path / "other")


# through the command line, on a real table


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("table")
    assert (
        emqlang(["bench", "build", "--out", str(folder / "own.table"), *options(folder, 40)]) == 0
    )
    yield folder / "own.table"


def wish(table: Path, *more: str) -> tuple[str, ...]:
    small = (
        "--islands",
        "3",
        "--population",
        "16",
        "--stat-images",
        "16",
        "--inputs",
        "w,grad,qerr,fisher,bits",
    )
    return ("--table", str(table), *small, *more)


def evolved(emq: Emq, folder: Path, table: Path, *more: str) -> Result:
    done = emq("evolve", "--out", str(folder), *wish(table, *more))
    assert done.status == 0, done.err
    return done


def command(folder: Path, table: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "emqlang", "evolve", "--out", str(folder), *wish(table, *more)]


def test_any_number_of_workers_writes_the_same_rows(emq: Emq, table: Path, tmp_path: Path) -> None:
    for count in ("1", "2", "3"):
        evolved(emq, tmp_path / count, table, "--steps", "6", "--workers", count)
    assert rows_of(tmp_path / "1") == rows_of(tmp_path / "2") == rows_of(tmp_path / "3")


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


def count(folder: Path) -> int:
    if not (folder / FILE).exists():
        return 0
    with sqlite3.connect(folder / FILE, timeout=30) as connection:
        found = connection.execute("SELECT max(step) FROM steps").fetchone()[0]
        return 0 if found is None else int(found) + 1


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_run_that_is_killed_goes_on_as_if_it_had_not_been(
    emq: Emq, table: Path, tmp_path: Path, workers: str
) -> None:
    evolved(emq, tmp_path / "whole", table, "--steps", "40")
    folder, rng = tmp_path / "killed", random.Random(int(workers))
    for _ in range(2):
        begun = (folder / FILE).exists()
        line = command(folder, table, "--steps", "40", "--workers", workers)
        if begun:
            line = [*line[:4], "--resume", str(folder), "--steps", "40", "--workers", workers]
        with subprocess.Popen(
            line, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            wanted = count(folder) + rng.randint(2, 9)
            while process.poll() is None and count(folder) < wanted:
                time.sleep(0.005)
            time.sleep(rng.random() * 0.05)
            with suppress(ProcessLookupError):  # a busy machine may let it finish first
                os.killpg(process.pid, signal.SIGKILL)
    assert 0 < count(folder) < 40
    done = emq("evolve", "--resume", str(folder), "--steps", "40", "--workers", workers)
    assert done.status == 0 and rows_of(folder) == rows_of(tmp_path / "whole")


def test_ctrl_c_finishes_the_step_and_shows_the_front(
    emq: Emq, table: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "r"
    line = command(folder, table, "--steps", "5000", "--workers", "2")
    with subprocess.Popen(
        line, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while process.poll() is None and count(folder) < 2:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "fitness" in out and "Traceback" not in err, err
    steps = count(folder)
    with sqlite3.connect(folder / FILE) as connection:
        assert connection.execute(
            "SELECT count(DISTINCT island) FROM steps WHERE step = ?", (steps - 1,)
        ).fetchone() == (3,)
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
        (("--budget", "soon"), 2, "is no time"),
        (("--resume", "here"), 2, "goes on in the run's own folder"),
    ],
)
def test_bad_wishes(
    emq: Emq, table: Path, tmp_path: Path, more: tuple[str, ...], status: int, said: str
) -> None:
    done = emq("evolve", "--out", str(tmp_path / "r"), *wish(table, *more))
    assert done.status == status and said in done.err and "Traceback" not in done.err, done.err
    assert not (tmp_path / "r").exists()


def test_a_table_with_too_few_rows(emq: Emq, tmp_path: Path) -> None:
    assert (
        emq("bench", "build", "--out", str(tmp_path / "few.table"), *options(tmp_path, 12)).status
        == 0
    )
    done = emq(
        "evolve", "--out", str(tmp_path / "r"), *wish(tmp_path / "few.table", "--steps", "2")
    )
    assert done.status == 2 and "E406" in done.err


def test_runs_are_not_written_over_and_not_mixed_up(emq: Emq, table: Path, tmp_path: Path) -> None:
    folder = tmp_path / "r"
    evolved(emq, folder, table, "--steps", "2")
    done = emq("evolve", "--out", str(folder), *wish(table))
    assert done.status == 3 and "holds a run already" in done.err
    with sqlite3.connect(folder / FILE) as connection:
        connection.execute("""UPDATE facts SET value = '"0.0.1"' WHERE name = 'op_table'""")
    done = emq("evolve", "--resume", str(folder), "--steps", "3")
    assert done.status == 3 and "E316" in done.err and "the op table was 0.0.1" in done.err
    assert emq("front", str(tmp_path)).status == 3
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / FILE).write_text("no database")
    done = emq("top", str(tmp_path / "bad"))
    assert done.status == 3 and "E316" in done.err


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
            *options(table.parent, 40),
            "--seed",
            "1",
        ).status
        == 0
    )
    shutil.copy(tmp_path / "other.table", own)
    from emqlang.tasks.arenas import _opened

    _opened.cache_clear()
    done = emq("evolve", "--resume", str(folder), "--steps", "3")
    assert done.status == 3 and "E316" in done.err and "the tables, their networks" in done.err


def test_a_run_finds_a_place_of_its_own(
    emq: Emq, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        assert emq("evolve", *wish(table, "--steps", "1")).status == 0
        assert (tmp_path / "runs" / f"evolve-{number}" / FILE).exists()


def test_the_planted_text_is_one_the_arena_ranks_by() -> None:
    assert parse(PLANTED).expr.axes
