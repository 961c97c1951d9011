"""Runs: what is found, what is written, and that stopping and resuming changes no row."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arenas import JOINT, PLANTED, arena, names
from runs import rows_of

from emqlang.evolve.history import Entry, entry, front, lineage, of_program, top
from emqlang.evolve.ledger import Ledger
from emqlang.evolve.reasons import MEANINGS, Reason
from emqlang.evolve.search import Budget, Search, migrated
from emqlang.evolve.settings import SearchSettings, paper_settings
from emqlang.grammar.canonical.form import key
from emqlang.grammar.diagnostics import EmqError
from emqlang.grammar.expr import elaborate
from emqlang.grammar.program import parse
from emqlang.tasks.workers import Workers

SMALL = SearchSettings(
    inputs=tuple(names()), islands=2, population=24, offspring=16, migrate=3, max_nodes=12
)

STEPS = 60


def searched(
    folder: Path, settings: SearchSettings = SMALL, budget: Budget | None = None
) -> Ledger:
    ledger = Ledger.create(folder, {"settings": settings.as_dict()})
    search = Search(ledger, arena(), Workers().run)
    search.advance(budget or Budget(steps=12), lambda *_: None)
    return ledger


def best(ledger: Ledger) -> Entry:
    return top(ledger, 1).entries[0]


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    return searched(tmp_path_factory.mktemp("run") / "r", budget=Budget(steps=STEPS))


def test_the_planted_program_is_found(ledger: Ledger) -> None:
    winner = best(ledger)
    assert winner.fitness is not None and winner.fitness > 0.98, winner.text


def test_a_row_for_every_distinct_program(ledger: Ledger) -> None:
    rows = ledger.select(
        "SELECT key, opposite, text, reason, fitness, step, island FROM programs ORDER BY id"
    )
    keys = [row[0] for row in rows]
    assert len(set(keys)) == len(keys) > 500 and not set(keys) & {row[1] for row in rows if row[1]}
    for digest, _, text, reason, fitness, *_ in rows[:200]:
        assert key(parse(text).expr) == digest and (reason == "") <= (fitness is not None)
    assert [row[-2:] for row in rows] == sorted(row[-2:] for row in rows), (
        "in the order of step and island"
    )


def test_every_proposal_is_counted(ledger: Ledger) -> None:
    status = ledger.status()
    assert status is not None and status.step == STEPS - 1
    counted = Counter(row[0] for row in ledger.select("SELECT reason FROM programs"))
    shared = sum(status.funnel.values()) - sum(counted.values()) - status.funnel[Reason.SEEN]
    assert 0 <= shared < STEPS, "two islands may propose one program in the same step"
    (repeats,) = ledger.select("SELECT sum(repeats) FROM programs")[0]
    assert repeats >= status.funnel[Reason.SEEN] and set(status.funnel) <= {
        reason.value for reason in MEANINGS
    }
    assert status.evaluated == ledger.select("SELECT sum(evaluated) FROM steps")[0][0]


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
    populations = [[(1, 0.5, "a"), (2, 0.7, "b")], [(3, 0.1, "c")], [(4, 0.9, "d")]]
    moved = migrated(1, populations)
    assert [each[-1][0] for each in moved] == [4, 2, 3]
    assert [len(each) for each in moved] == [3, 2, 2]


def test_the_front_rises_with_size(ledger: Ledger) -> None:
    found = front(ledger).entries
    assert [e.nodes for e in found] == sorted({e.nodes for e in found})
    fitness = [e.fitness or 0.0 for e in found]
    assert fitness == sorted(fitness) and fitness[-1] == best(ledger).fitness


def test_conditions(ledger: Ledger) -> None:
    found = top(ledger, 10, "nodes <= 6 and cost == 0 and fitness > 0.1").entries
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
    winner = best(ledger)
    found = lineage(ledger, winner.number).generations
    assert found[0] == (0, winner) and len({e.number for _, e in found}) == len(found) > 2
    assert all(e.operator == "random" for _, e in found if not e.parents)


def test_a_program_is_found_by_its_meaning(ledger: Ledger) -> None:
    winner = best(ledger)
    for text in (winner.text, f"-({winner.text})", f"0 + ({winner.text}) * 1"):
        found = of_program(ledger, elaborate(parse(text).expr))
        assert found is not None and found.number == winner.number
    assert of_program(ledger, elaborate(parse("macs ** 7.123").expr)) is None


def test_stopped_and_gone_on_with_is_the_same_run(tmp_path: Path) -> None:
    searched(tmp_path / "whole")
    searched(tmp_path / "parts", budget=Budget(steps=5))
    for steps in (6, 12):
        again = Ledger(tmp_path / "parts")
        Search(again, arena(), Workers().run).advance(Budget(steps=steps), lambda *_: None)
    assert rows_of(tmp_path / "whole") == rows_of(tmp_path / "parts")


def test_the_papers_search_too(tmp_path: Path) -> None:
    settings = paper_settings(rows=50, islands=2)
    searched(tmp_path / "whole", settings)
    searched(tmp_path / "parts", settings, Budget(steps=7))
    Search(Ledger(tmp_path / "parts"), arena(), Workers().run).advance(
        Budget(steps=12), lambda *_: None
    )
    assert rows_of(tmp_path / "whole") == rows_of(tmp_path / "parts")


@pytest.mark.parametrize(
    ("changes", "digest"),
    [
        ({}, "b36dc775e29ba564"),
        ({"structure": "dag", "rows": 50, "islands": 2}, "aee61328c64f8473"),
    ],
    ids=["as the paper has it", "dag"],
)
def test_the_papers_search_is_what_it_was(
    tmp_path: Path, changes: dict[str, Any], digest: str
) -> None:
    """Row by row, as before there were programs that do not separate."""
    ledger = searched(tmp_path / "r", paper_settings(**changes), Budget(steps=40))
    rows = ledger.select(
        "SELECT id, hex(key), hex(opposite), text, genotype, operator, parents, island, step, "
        "nodes, cost, round(fitness, 9), hex(fingerprint), reason, same, repeats "
        "FROM programs ORDER BY id"
    )
    assert blake2b(repr(rows).encode(), digest_size=8).hexdigest() == digest


def test_a_joint_program_is_found(tmp_path: Path) -> None:
    """In the larger space; the additive one has nothing that ranks so well."""
    inputs = ("shift", "bits", "fisher_qerr", "numel")
    settings = replace(SMALL, inputs=inputs)
    best_of = {}
    for additive in (False, True):
        ledger = Ledger.create(
            tmp_path / str(additive), {"settings": replace(settings, additive=additive).as_dict()}
        )
        search = Search(ledger, arena(JOINT), Workers().run)
        search.advance(Budget(steps=30), lambda *_: None)
        best_of[additive] = best(ledger)
    assert (best_of[False].fitness or 0) > 0.98 > (best_of[True].fitness or 1) + 0.05
    assert not parse(best_of[False].text).separable and parse(best_of[True].text).separable


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    one, two = (searched(tmp_path / str(s), replace(SMALL, seed=s)) for s in (0, 1))
    assert top(one, 5) != top(two, 5)


def test_budgets(tmp_path: Path) -> None:
    status = searched(tmp_path / "a", budget=Budget(evals=100)).status()
    assert status is not None and 100 <= status.evaluated < 200
    status = searched(tmp_path / "b", budget=Budget(seconds=0.3)).status()
    assert status is not None and status.step >= 0


def test_a_full_disk_leaves_the_last_step(tmp_path: Path) -> None:
    ledger = searched(tmp_path / "r", budget=Budget(steps=3))
    before = rows_of(tmp_path / "r")
    (pages,) = ledger.select("PRAGMA page_count")[0]
    ledger.select(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(EmqError, match="full") as refused:
        Search(ledger, arena(), Workers().run).advance(Budget(steps=9), lambda *_: None)
    assert refused.value.diagnostics[0].code == "E301"
    ledger.close()
    whole = rows_of(tmp_path / "r")
    assert [row for row in before if row in whole] == before or len(whole) >= len(before)
    Search(Ledger(tmp_path / "r"), arena(), Workers().run).advance(Budget(steps=9), lambda *_: None)
    searched(tmp_path / "other", budget=Budget(steps=9))
    assert rows_of(tmp_path / "r") == rows_of(tmp_path / "other")


def test_the_planted_text_is_one_the_arena_ranks_by() -> None:
    assert parse(PLANTED).expr.axes
