"""What was collected once is scored again without network, images or torch, byte for byte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from emqlang.quant.statistics import record
from emqlang.quant.statistics.cache import default_root
from emqlang.tasks.workbench import Workbench, WorkbenchOptions

OPTIONS = WorkbenchOptions(model="vit-fmnist", stat_images=4)
NAMES = ("w", "fisher")
EVAL = ("eval", "mean(abs(w)) * mean(fisher)", "--model", "vit-fmnist", "--stat-images", "4")
CONFIGURED = (*EVAL, "--config", "3")
RANK = ("rank", "mean(fisher)", "slogdet(w @ w)", "--table", "vit-fmnist-edge")
RANK += ("--stat-images", "4", "--draws", "20")  # on a screen without the column of times
SCRIPT = """
import sys
from emqlang.cli import main
try:
    main()
except SystemExit as end:
    print("torch" in sys.modules, file=sys.stderr)
    raise
"""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def run(*words: str) -> tuple[str, str, bool]:
    """Output, messages, and whether torch was imported, in a process of its own."""
    folders = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, "PYTHONPATH": folders, "COLUMNS": "80"}
    command = [sys.executable, "-c", SCRIPT, *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    *messages, torch = done.stderr.splitlines()
    return done.stdout, "\n".join(messages), torch == "True"


@pytest.mark.parametrize("words", [CONFIGURED, (*EVAL, "--csv"), RANK])
def test_the_second_time_torch_is_not_imported(words: tuple[str, ...]) -> None:
    cold, warm = run(*words), run(*words)
    assert cold[:2] == warm[:2] and cold[0]
    assert (cold[2], warm[2]) == (True, False)
    without = run(*words, "--no-cache")
    assert without == (cold[0], cold[1], True)


def bench(**changes: object) -> Workbench:
    settings = {name: getattr(OPTIONS, name) for name in ("model", "stat_images")}
    return Workbench(WorkbenchOptions(**{**settings, **changes}))  # type: ignore[arg-type]


def path_of(made: Workbench) -> Path:
    return default_root() / "statistics" / record.RECORDS / f"{made._before.key(True)}.json"


def test_what_is_kept_is_what_was_collected() -> None:
    first = bench()
    assert first.kept(NAMES) is None
    collected, kept = first.statistics(NAMES), bench().kept(NAMES)
    assert kept is not None and kept.fingerprint == collected.fingerprint
    assert kept.layers == collected.layers and kept.rows == collected.rows
    assert (kept.offsets, kept.totals) == (collected.offsets, collected.totals)
    assert kept.choices == collected.choices
    for name in NAMES:
        assert kept.array(name).tobytes() == collected.array(name).numpy().tobytes()
    again = bench()
    assert again.facts == first.network.facts and "network" not in vars(again)
    assert again.source(NAMES) == first.source(NAMES)
    assert again.kept(("grad",)) is None, "which was not collected"


OTHER = {
    "seed": {"seed": 1},
    "images": {"stat_images": 5},
    "loss": {"loss": "self"},
    "label draws": {"label_draws": 2},
    "probes": {"hessian_samples": 2},
    "menu": {"bits": "2,4"},
    "network": {"model": "vgg-fmnist"},
}
NOT_OURS = {
    "weights": {"weights": "random"},
    "noise": {"data": "noise:4"},
    "no cache": {"cache": False},
    "learned rounding": {"stat_rounding": "adaround"},
    "another network": {"model": "resnet18"},
    "a loss": {"loss": lambda scores, batch: scores.sum()},
    "a forward": {"forward": "file.py:forward"},
    "a GPU": {"device": "cuda"},
}


@pytest.mark.parametrize("what", OTHER)
def test_whatever_statistics_depend_on_is_in_the_key(what: str) -> None:
    keys = {made._before.key(True) for made in (bench(), bench(**OTHER[what]))}
    assert len(keys) == 2 and "" not in keys


@pytest.mark.parametrize("what", NOT_OURS)
def test_what_does_not_come_with_the_package_is_not_recorded(what: str) -> None:
    assert bench(**NOT_OURS[what])._before.key(True) == ""


def test_other_weights_images_code_and_versions_have_other_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key() -> str:
        return record.key_of("vit-fmnist", "fashion-mnist", [])

    keys = [key(), record.key_of("vit-fmnist", "", [])]
    shipped = record.EMBEDDED
    for changed in ("vit-fmnist", "fashion-mnist"):
        folder = tmp_path / changed
        folder.mkdir()
        for name in ("vit-fmnist", "fashion-mnist"):
            content = (shipped / f"{name}.safetensors").read_bytes()
            end = bytes([content[-1] ^ 1]) if name == changed else content[-1:]
            (folder / f"{name}.safetensors").write_bytes(content[:-1] + end)
        monkeypatch.setattr(record, "EMBEDDED", folder)
        monkeypatch.setattr("emqlang.quant.models.EMBEDDED", folder)
        keys.append(key())
    for what in ("_code", "_versions"):
        monkeypatch.setattr(record, what, lambda: "other")
        keys.append(key())
    assert len(set(keys)) == len(keys)


def test_the_code_that_is_covered_is_that_which_takes_statistics(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record._code.cache_clear()
    before, read = record._code(), set[str]()
    original = Path.read_bytes

    def noting(path: Path) -> bytes:
        read.add(path.name)
        return original(path) + b"#" * (path.name == "synflow.py")

    monkeypatch.setattr(Path, "read_bytes", noting)
    record._code.cache_clear()
    assert record._code() != before
    assert {"synflow.py", "fingerprint.py", "network.py", "inputs.py", "workbench.py"} <= read
    record._code.cache_clear()


@pytest.mark.parametrize("damage", ["cut", "edited", "of another key", "gone"])
def test_a_record_that_is_not_whole_is_not_used(damage: str) -> None:
    bench().statistics(NAMES)
    path = path_of(bench())
    content = path.read_text()
    if damage == "cut":
        path.write_text(content[:-9])
    elif damage == "edited":
        path.write_text(content.replace('"parameters":', '"parameters":1'))
    elif damage == "of another key":
        path.write_text(json.dumps({**json.loads(content), "key": "0" * 32}))
    else:
        path.unlink()
    assert bench().kept(NAMES) is None
    bench().statistics(NAMES)
    assert bench().kept(NAMES) is not None, "it is written again"


def test_a_damaged_statistic_is_left_to_the_collection() -> None:
    bench().statistics(NAMES)
    (path,) = default_root().rglob("fisher-*.safetensors")
    path.write_bytes(path.read_bytes()[:-9])
    made = bench()
    assert made.kept(NAMES) is None
    assert [warning.code for warning in made.statistics(NAMES).warnings] == ["W604"]
    assert bench().kept(NAMES) is not None
