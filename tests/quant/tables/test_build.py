"""Building tables: rows are those of `quantize`, whatever is killed or resumed; and refusals."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Emq
from small_table import options

from emqlang.quant.ptq.evaluate import evaluate
from emqlang.quant.ptq.quantize import quantize
from emqlang.quant.ptq.recipe import Procedure
from emqlang.quant.tables.blockwise import Blockwise
from emqlang.quant.tables.build import CHECKED, SEQUENTIAL
from emqlang.quant.tables.ledger import Ledger
from emqlang.quant.tables.row_builder import RowBuilder
from emqlang.quant.tables.table import Table, load


def built(emq: Emq, out: Path, *arguments: str) -> Table:
    done = emq("bench", "build", "--out", str(out), *arguments)
    assert done.status == 0, done.err
    return load(str(out))


def rows_of(path: Path) -> list[Any]:
    """Everything that was measured, but for the time it took and what did not have to run."""
    with sqlite3.connect(path) as connection:
        return connection.execute(
            "SELECT run, id, accuracy, loss, agreement, marks FROM measurements ORDER BY run, id"
        ).fetchall()


def test_rows_are_what_quantize_gives(emq: Emq, tmp_path: Path) -> None:
    table = built(emq, tmp_path / "a.table", *options(tmp_path), "--fix", "0=8", "--seed", "5")
    assert (
        len(table) == 12
        and (table.bits[:, 0] == 8).all()
        and set(table.bits[:, 1:].ravel()) == {2, 3, 4}
    )
    builder = RowBuilder(table.spec)
    for row in range(3):
        recipe = builder.recipe(tuple(table.choices[row].tolist()))
        module = quantize(builder.network, recipe, builder.calibration, Procedure(images=64)).module
        found = evaluate(module, builder.splits.test, reference=builder.network.module)
        assert found.accuracy == pytest.approx(table.accuracy[row]) and found.loss == pytest.approx(
            table.loss[row], rel=1e-5
        )
        assert found.agreement == pytest.approx(table.agreement[row])
    assert table.right is not None and table.right.mean(1) == pytest.approx(table.accuracy)
    assert (
        table.facts["float"]["accuracy"] == pytest.approx(0.8, abs=0.05)
        and table.facts["images"] == 250
    )


def test_what_was_built_can_be_built_again(emq: Emq, tmp_path: Path) -> None:
    one, two = (built(emq, tmp_path / name, *options(tmp_path)) for name in ("a.table", "b.table"))
    assert (
        rows_of(tmp_path / "a.table") == rows_of(tmp_path / "b.table")
        and (one.choices == two.choices).all()
    )
    again = json.loads(
        emq("bench", "build", "--out", str(tmp_path / "a.table"), *options(tmp_path), "--json").out
    )
    assert (again["rows"], again["before"]) == (0, 12), "a finished table is left as it is"


def test_workers_change_nothing(emq: Emq, tmp_path: Path) -> None:
    built(emq, tmp_path / "a.table", *options(tmp_path))
    built(emq, tmp_path / "b.table", *options(tmp_path), "--workers", "2")
    assert rows_of(tmp_path / "a.table") == rows_of(tmp_path / "b.table")


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_build_that_is_killed_again_and_again_ends_as_if_it_had_not_been(
    emq: Emq, tmp_path: Path, workers: str
) -> None:
    arguments = options(tmp_path, 30)
    built(emq, tmp_path / "whole.table", *arguments)
    arguments = (*arguments, "--workers", workers)
    out, rng, seen = tmp_path / "killed.table", random.Random(int(workers)), [0]
    command = [sys.executable, "-m", "emqlang", "bench", "build", "--out", str(out), *arguments]
    for _ in range(4 - int(workers)):
        with slowly(command, stderr=subprocess.DEVNULL) as process:
            wait_for(process, out, seen[-1] + rng.randint(1, 8))
            time.sleep(rng.random() * NAP)
            os.killpg(process.pid, signal.SIGKILL)
        assert count(out) >= seen[-1], "nothing is lost"
        seen.append(count(out))
    assert 0 < seen[1] < 30, "it was killed on its way"
    built(emq, out, *arguments)
    assert rows_of(out) == rows_of(tmp_path / "whole.table")


NAP = 0.01  # seconds in every forward, so that a busy machine does not finish first


def slowly(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
    environment = os.environ | {"NAP": str(NAP)}
    quiet = {"stdout": subprocess.DEVNULL, "start_new_session": True}
    return subprocess.Popen(command, env=environment, **quiet, **options)


def wait_for(process: subprocess.Popen[bytes], table: Path, rows: int) -> None:
    while process.poll() is None and count(table) < rows:
        time.sleep(0.01)


def count(path: Path) -> int:
    if not path.exists():
        return 0
    with sqlite3.connect(path, timeout=30) as connection:
        return int(connection.execute("SELECT count(*) FROM measurements").fetchone()[0])


@pytest.mark.slow
def test_ctrl_c_leaves_what_is_done(emq: Emq, tmp_path: Path) -> None:
    out = tmp_path / "a.table"
    arguments = (*options(tmp_path, 200), "--menu", "2,3,4,8", "--workers", "2")
    command = [sys.executable, "-m", "emqlang", "bench", "build", "--out", str(out), *arguments]
    with slowly(command, stderr=subprocess.PIPE) as process:
        wait_for(process, out, 3)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and b"Traceback" not in err, err
    assert 3 <= count(out) < 200 and len(load(str(out), partial=True)) == count(out)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--seed", "1"), "seed is 1, not 0"),
        (("--rows", "13"), "rows is 13, not 12"),
        (("--fix", "0=8", "--act-bits", "4"), "act-bits is 4, not 8"),
    ],
)
def test_a_table_is_not_gone_on_with_otherwise(
    emq: Emq, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    out = tmp_path / "a.table"
    built(emq, out, *options(tmp_path))
    done = emq("bench", "build", "--out", str(out), *options(tmp_path), *arguments)
    assert done.status == 3 and "E315" in done.err and said in done.err


def test_other_weights_or_images_are_noticed(emq: Emq, tmp_path: Path) -> None:
    out = tmp_path / "a.table"
    given = options(tmp_path)
    built(emq, out, *given)
    source = (tmp_path / "small.py").read_text()
    for old, new, said in (
        ("manual_seed(3)", "manual_seed(4)", "weights have changed"),
        ("batches(2,", "batches(9,", "test images"),
    ):
        fresh = tmp_path / said.split()[0]
        fresh.mkdir()
        (fresh / "small.py").write_text(source.replace(old, new))
        moved = [argument.replace(str(tmp_path), str(fresh)) for argument in given]
        with sqlite3.connect(out) as connection:  # as if it had been started there
            spec = json.loads(
                connection.execute("SELECT value FROM facts WHERE name = 'spec'").fetchone()[0]
            )
            spec = {
                k: str(v).replace(str(tmp_path), str(fresh)) if isinstance(v, str) else v
                for k, v in spec.items()
            }
            copy = fresh / "b.table"
            with sqlite3.connect(copy) as target:
                connection.backup(target)
                target.execute(
                    "UPDATE facts SET value = ? WHERE name = 'spec'", (json.dumps(spec),)
                )
        done = emq("bench", "build", "--out", str(copy), *moved)
        assert done.status == 3 and "E315" in done.err and said in done.err


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        (("--rows", "90"), 2, "E407"),
        (("--fix", "nothing=8"), 2, "E402"),
        (("--menu", "2,two"), 2, "E401"),
        (("--calib-images", "97"), 3, "E304"),
        (("--test", "noise:32", "--data", "noise:64", "--rows", "3"), 0, ""),
        (("--composed",), 2, "--composed is not used"),
    ],
)
def test_bad_options(
    emq: Emq, tmp_path: Path, arguments: tuple[str, ...], status: int, code: str
) -> None:
    done = emq("bench", "build", "--out", str(tmp_path / "a.table"), *options(tmp_path), *arguments)
    assert done.status == status and code in done.err and "Traceback" not in done.err
    assert status == 0 or not (tmp_path / "a.table").exists()


def test_images_without_labels_make_no_table(emq: Emq, tmp_path: Path) -> None:
    given = options(tmp_path)
    path = tmp_path / "small.py"
    path.write_text(
        path.read_text() + "\n\ndef bare():\n    return [images for images, _ in batches(2)]\n"
    )
    done = emq(
        "bench", "build", "--out", str(tmp_path / "a.table"), *given, "--test", f"{path}:bare"
    )
    assert done.status == 3 and "no labels" in done.err


def test_a_learned_table_is_what_quantize_learns(emq: Emq, tmp_path: Path) -> None:
    table = built(
        emq, tmp_path / "a.table", *options(tmp_path, 2), "--rounding", "adaround", "--iters", "20"
    )
    builder = RowBuilder(table.spec)
    recipe = builder.recipe(tuple(table.choices[1].tolist()))
    procedure = Procedure("adaround", images=64, iterations=20)
    module = quantize(builder.network, recipe, builder.calibration, procedure).module
    assert evaluate(module, builder.splits.test).accuracy == pytest.approx(table.accuracy[1])


def test_a_composed_table_is_checked_against_learning_in_sequence(emq: Emq, tmp_path: Path) -> None:
    out = tmp_path / "a.table"
    arguments = (
        *options(tmp_path, 30),
        "--rounding",
        "brecq",
        "--iters",
        "10",
        "--composed",
        "--menu",
        "2,4",
    )
    with pytest.raises(AssertionError, match="there are 16"):
        built(emq, out, *arguments)
    arguments = (*options(tmp_path, 26), "--rounding", "brecq", "--iters", "10", "--composed")
    table = built(emq, out, *arguments)
    (rerun,) = table.reruns
    assert (
        rerun.name == SEQUENTIAL
        and len(rerun.rows) == CHECKED["brecq"]
        and rerun.changed == {"composed": False}
    )
    assert np.corrcoef(rerun.accuracy, table.accuracy[rerun.rows])[0, 1] > 0.3
    assert not Ledger(out, read_only=True).roundings(), "what was learned is dropped"
    assert f"on {CHECKED['brecq']} rows" in emq("bench", "card", str(out)).out
    built(emq, out, *arguments)  # and nothing is learned again


def test_units_are_learned_for_every_combination(emq: Emq, tmp_path: Path) -> None:
    table = built(emq, tmp_path / "a.table", *options(tmp_path), "--fix", "0=8")
    builder = RowBuilder(table.spec)
    found = list(
        Blockwise(builder.network, builder.spec, builder.calibration, {}).combinations(
            builder.menu, builder.allowed
        )
    )
    assert (
        found.count(("0", "8")) == 1
        and {c for unit, c in found if unit == "2"} == {"2", "3", "4"}
        and len(found) == 10
    )


def test_rows_built_again_with_something_changed(emq: Emq, tmp_path: Path) -> None:
    out, other = tmp_path / "a.table", f"{tmp_path / 'small.py'}:other"
    built(emq, out, *options(tmp_path))
    arguments = ("bench", "rerun", str(out), "--name", "images", "--data", other)
    assert emq(*arguments, "--rows", "3").status == 0
    done = emq(*arguments, "--rows", "5")
    assert done.status == 0 and "2 rows measured again" in done.err
    (rerun,) = load(str(out)).reruns
    assert rerun.rows.tolist() == [0, 1, 2, 3, 4] and rerun.changed["data"] == other
    assert 0 < np.abs(rerun.accuracy - load(str(out)).accuracy[:5]).max() < 0.2
    for wrong, code in ((("--data", f"{tmp_path / 'small.py'}:test"), "E315"), ((), "E403")):
        refused = emq("bench", "rerun", str(out), "--name", "images", *wrong)
        assert refused.status in (2, 3) and code in refused.err


def test_rows_of_a_routed_network_are_not_composed(emq: Emq, tmp_path: Path) -> None:
    """Its layers see other rows from image to image, and parts of rows are nobody else's."""
    file = str(Path(__file__).parents[2] / "support" / "kinds.py")
    data = f"{file}:routed_rows"
    words = ["--model", f"{file}:experts", "--data", data, "--test", data, "--calib-images", "64"]
    out = tmp_path / "routed.table"
    table = built(emq, out, *words, "--rows", "4")
    builder = RowBuilder(table.spec)
    for row in range(2):
        recipe = builder.recipe(tuple(table.choices[row].tolist()))
        module = quantize(builder.network, recipe, builder.calibration, Procedure(images=64)).module
        found = evaluate(module, builder.splits.test)
        assert found.accuracy == table.accuracy[row]
        assert found.loss == pytest.approx(table.loss[row], rel=1e-6)
    composed = ("--rounding", "brecq", "--composed", "--iters", "2", "--rows", "2")
    refused = emq("bench", "build", *words, *composed, "--out", str(tmp_path / "no.table"))
    assert refused.status == 3 and "its rows cannot be composed" in refused.err
