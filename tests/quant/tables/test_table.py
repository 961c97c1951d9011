"""Tables as they are read; nothing damaged, edited, unfinished or foreign passes for one."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from commands import Emq
from small_table import options

from emqlang.cli import run
from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.networks.network import load as load_network
from emqlang.quant.tables.table import load


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("table")
    assert run(["bench", "build", "--out", str(folder / "own.table"), *options(folder, 20)]) == 0
    yield folder / "own.table"


@pytest.fixture
def table(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(built, tmp_path / "own.table"))


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


EDITS = {
    "an accuracy": "UPDATE measurements SET accuracy = 0.9 WHERE id = 3",
    "marks": "UPDATE measurements SET marks = zeroblob(32) WHERE id = 3",
    "a configuration": "UPDATE configurations SET size = size + 1 WHERE id = 3",
    "the split": "UPDATE configurations SET search = 1 - search WHERE id = 3",
    "a fact": """UPDATE facts SET value = '"other"' WHERE name = 'licence'""",
    "a configuration gone": "DELETE FROM configurations WHERE id = 3",
    "rows exchanged": """UPDATE measurements
        SET id = CASE id WHEN 3 THEN 400 WHEN 4 THEN 401 ELSE id END""",
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_an_edited_table_is_refused(table: Path, edit: str) -> None:
    change(table, edit)
    with pytest.raises(EmqError) as refused:
        load(str(table))
    assert refused.value.diagnostics[0].code == "E314"


def test_an_unfinished_table_is_refused_unless_that_is_wished(table: Path) -> None:
    change(table, "DELETE FROM measurements WHERE id > 11")
    with pytest.raises(EmqError, match="12 of its 20 rows"):
        load(str(table))
    assert len(load(str(table), partial=True)) == 12
    change(table, "DELETE FROM measurements")
    with pytest.raises(EmqError, match="0 of its 20 rows"):
        load(str(table), partial=True)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _scribble(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:4300] = bytes(range(204))
    path.write_bytes(data)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut": _cut,
    "scribbled": _scribble,
    "text": lambda path: path.write_text("not a table"),
    "empty": lambda path: path.write_bytes(b""),
    "another database": lambda path: (path.unlink(), change(path, "CREATE TABLE facts (a)")),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_file_is_refused(table: Path, damage: Callable[[Path], object], emq: Emq) -> None:
    damage(table)
    for command in (("bench", "info"), ("bench", "validate"), ("rank", "bit_sum", "--table")):
        done = emq(*command, str(table))
        assert done.status == 3 and "E314" in done.err and "Traceback" not in done.err, done.err


def test_validate_says_which(table: Path, tmp_path: Path, emq: Emq) -> None:
    bad = Path(shutil.copy(table, tmp_path / "bad.table"))
    change(bad, EDITS["marks"])
    done = emq("bench", "validate", str(table), str(bad))
    assert (
        done.status == 3
        and "own.table: 20 rows, whole and unedited" in done.out
        and "row 3 was edited" in done.err
    )
    record = json.loads(emq("bench", "validate", str(table), str(bad), "--json").out)["tables"]
    assert record[str(table)]["errors"] == [] and record[str(bad)]["errors"][0]["code"] == "E314"
    assert emq("bench", "validate", str(table), "--network").status == 0


def test_a_table_of_other_weights_is_refused(table: Path, built: Path, emq: Emq) -> None:
    found = load(str(table))
    source = built.parent / "small.py"
    found.check(load_network(f"{source}:network"))
    text = source.read_text()
    try:
        source.write_text(text.replace("manual_seed(3)", "manual_seed(4)"))
        import sys

        for name in [name for name in sys.modules if name.startswith("emqlang user code")]:
            del sys.modules[name]
        done = emq("rank", "bit_sum", "--table", str(table))
        assert (
            done.status == 3
            and "E315" in done.err
            and "score the network that the table was built from" in done.err
        )
        assert emq("bench", "validate", str(table), "--network").status == 3
    finally:
        source.write_text(text)


def test_what_show_and_info_say(table: Path, emq: Emq) -> None:
    shown = json.loads(emq("bench", "show", str(table), "--rows", "5", "--json").out)
    accuracies = [row["accuracy"] for row in shown["rows"]]
    assert accuracies == sorted(accuracies, reverse=True) and len(accuracies) == 5
    assert len(shown["rows"][0]["config"].split(",")) == len(shown["groups"]) == 4
    info = json.loads(emq("bench", "info", str(table), "--json").out)
    assert {ceiling["name"] for ceiling in info["ceilings"]} == {"images", "additive"}
    assert set(info["own_bits"]) == {"0", "2", "4", "8"}
    screen = emq("bench", "info", str(table)).out
    assert "nearest rounding" in screen and "20 distinct configurations of 4 groups" in screen
    card = emq("bench", "card", str(table)).out
    assert card.startswith("# own\n") and "| images |" in card and "**built by**" in card


def test_a_name_that_no_table_has(emq: Emq) -> None:
    done = emq("bench", "info", "resnet18-fmnist-al")
    assert done.status == 3 and "resnet18-fmnist-all" in done.err


def test_splits(table: Path) -> None:
    found = load(str(table))
    search, held = found.split("search"), found.split("heldout")
    assert len(search) == 14 and len(held) == 6 and len(found.split("all")) == 20
    assert (
        sorted([*search.ids, *held.ids]) == list(range(20))
        and held.right is not None
        and len(held.right) == 6
    )
