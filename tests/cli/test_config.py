"""Defaults from a file, which command lines overrule; and commands that are told to be quiet."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import Emq

from emqlang.grammar.library import LIBRARY


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, below the one that files are in."""
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    return tmp_path


OWN = 'model = "vgg-fmnist"\n[assign]\navg-bits = 3\n[bench.list]\n'
TOOL = """[project]
name = "x"
[tool.emqlang]
model = "vgg-fmnist"
[tool.emqlang.assign]
avg_bits = 3
"""


@pytest.mark.parametrize(("name", "text"), [("emqlang.toml", OWN), ("pyproject.toml", TOOL)])
def test_the_nearest_file_sets_what_the_line_does_not(
    emq: Emq, here: Path, name: str, text: str
) -> None:
    (here / name).write_text(text)
    done = emq("assign", "synflow", "--json")
    assert done.status == 0 and json.loads(done.out)["model"]["name"] == "vgg-fmnist"
    assert f"{here / name}: " in done.err and "--avg-bits 3" in done.err
    other = emq("assign", "synflow", "--json", "--model", "resnet18-fmnist", "--avg-bits", "2.5")
    found = json.loads(other.out)
    assert found["model"]["name"] == "resnet18-fmnist" and 2.3 < found["avg_bits"] <= 2.5
    assert str(here) not in other.err
    assert emq("check", "mean(w)").err == ""


def test_lists_and_repeated_options(emq: Emq, here: Path) -> None:
    (here / "emqlang.toml").write_text('[eval]\nproxy = ["bit_sum", "size"]\nbits = [2, 8]\n')
    done = emq("eval", "--weights", "random", "--json", "--no-cache")
    assert [one["name"] for one in json.loads(done.out)["proxies"]] == ["bit_sum", "size"]
    assert set(json.loads(done.out)["proxies"][0]["groups"][0]["scores"]) == {"W2", "W8"}


@pytest.mark.parametrize(
    ("text", "said", "status"),
    [
        ("[assign]\nmodle = 1\n", "emqlang assign has no option --modle", 2),
        ("[assign]\navg-bits = 'many'\n", "E40", 2),
        ("model = \n", "the file cannot be read", 3),
        ("model = 'resnet19'\n", "there is no built-in network 'resnet19'", 3),
    ],
)
def test_what_is_wrong_in_it_is_told(
    emq: Emq, here: Path, text: str, said: str, status: int
) -> None:
    (here / "emqlang.toml").write_text(text)
    done = emq("assign", "synflow", "--avg-bits", "3") if "many" not in text else emq("assign", "w")
    assert done.status == status and said in done.err and "Traceback" not in done.err


def test_other_files_say_nothing(emq: Emq, here: Path) -> None:
    (here / "pyproject.toml").write_text("this is = no toml [")
    assert emq("library").status == 0
    (here / "pyproject.toml").write_text('[tool.other]\nmodel = "x"\n')
    assert emq("library").err.count("pyproject") == 0


def test_quiet_commands_tell_warnings_and_errors_only(emq: Emq, here: Path) -> None:
    assert "where no proxy is named" in emq("library").err
    assert emq("library", "-q").err == "" and len(LIBRARY) > 10
    done = emq("eval", "-sum(abs(w))", "--weights", "random", "--no-cache", "--quiet")
    assert "W602" in done.err
    assert "E102" in emq("check", "-q", "wx").err


def test_verbose_commands_say_what_took_how_long(emq: Emq, here: Path) -> None:
    plain = emq("eval", "-sum(abs(w)) * bits", "--weights", "random", "--no-cache", "--quiet")
    done = emq("eval", "-sum(abs(shift))", "--stat-images", "4", "--no-cache", "-v")
    assert "\nshifts: " in f"\n{done.err}" and "in all: " in done.err and " MiB" in done.err
    assert "in all" not in plain.err and done.status == plain.status == 0
    both = emq("library", "-q", "-v")
    assert both.status == 2 and "error[E403]" in both.err and "exclude each other" in both.err
