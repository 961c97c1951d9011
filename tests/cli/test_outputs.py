"""What commands write to: never written over in silence, refused before any work, one at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from commands import Emq

from emqlang.cli import group
from emqlang.cli.outputs import OutputOption
from emqlang.grammar.diagnostics import EmqError
from emqlang.store import write_text
from emqlang.tasks.outputs import Output

# Every command that writes, as it is called but for the place; the work is never begun here.
MODEL = ("--model", "no-such-model")
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("assign", "numel", "--avg-bits", "3", *MODEL, "--out"),
    ("quantize", "--config", "4", *MODEL, "--out"),
    ("qat", "no.json", "--out"),
    ("front", "no-run", "--emq"),
    ("top", "no-run", "--emq"),
    ("evolve", "--table", "no-table", "--out"),
    ("experiment", "table8", "--table", "no-table", "--out"),
    ("experiment", "table8", "--table", "no-table", "--plot"),
    ("rank", "--table", "no-table", "--plot"),
    ("plot", "scores", "emq", *MODEL, "--out"),
    ("plot", "pareto", "emq", "--table", "no-table", "--out"),
    ("plot", "curves", "no-run", "--out"),
    ("plot", "funnel", "no-run", "--out"),
    ("plot", "graph", "no-proxy-here(", "--out"),
    ("plot", "matrix", *MODEL, "--out"),
    ("plot", "scatter", "emq", "--table", "no-table", "--out"),
    ("bench", "build", *MODEL, "--out"),
    ("bench", "import", "no.csv", *MODEL, "--out"),
    ("bench", "export", "no-table", "--out"),
    ("bench", "card", "no-table", "--out"),
    ("export", "no-recipe.json", "--to", "json", "-o"),
)
GOES_ON = {"build", "import", "evolve", "experiment", "qat", "quantize"}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where folders go that are given no name."""
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))


def words(command: tuple[str, ...]) -> str:
    return " ".join(command)


def _options() -> Iterator[tuple[str, click.Option]]:
    within = [group.get_command(click.Context(group), name) for name in ("bench", "plot")]
    for root in (group, *within):
        assert isinstance(root, click.Group)
        for name in root.list_commands(click.Context(root)):
            command = root.get_command(click.Context(root), name)
            assert command is not None
            yield from ((name, p) for p in command.params if isinstance(p, click.Option))


def test_every_place_that_is_written_to_is_under_the_policy() -> None:
    places = {(n, option.name) for n, option in _options() if option.name in PLACES}
    claimed = {(n, option.name) for n, option in _options() if isinstance(option, OutputOption)}
    assert places - claimed == {("experiment", "out")}, "which the command claims by itself"


PLACES = ("out", "emq", "plot", "resume")


@pytest.mark.parametrize("command", COMMANDS, ids=words)
def test_where_nothing_can_be_written_nothing_is_begun(
    emq: Emq, tmp_path: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "file").write_text("mine")
    for place in (
        tmp_path / "file" / "x.svg",
        Path("/proc/x.svg"),
        tmp_path / ("a" * 300 + ".svg"),
    ):
        done = emq(*command, str(place))
        assert done.status == 3 and "E301" in done.err and "nothing can be written" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "command", [c for c in COMMANDS if not GOES_ON & set(c[:2]) or c[-1] != "--out"], ids=words
)
def test_what_is_there_is_replaced_by_force_alone(
    emq: Emq, tmp_path: Path, command: tuple[str, ...]
) -> None:
    path = tmp_path / "there.svg"
    path.write_text("mine")
    done = emq(*command, str(path))
    assert done.status == 3 and "E317" in done.err and "--force" in done.err, done.err
    assert "E317" not in emq(*command, str(path), "--force").err
    assert path.read_text() == "mine" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["recipe.json", "model.safetensors"])
def test_a_quantized_network_stays(emq: Emq, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    done = emq("quantize", "--config", "4", *MODEL, "--out", str(tmp_path))
    assert done.status == 3 and "E317" in done.err
    done = emq("quantize", "--config", "4", *MODEL, "--out", str(tmp_path), "--force")
    assert "E317" not in done.err and (tmp_path / name).read_text() == "mine"


def test_a_run_that_is_begun_anew_comes_back_if_nothing_takes_its_place(
    emq: Emq, tmp_path: Path
) -> None:
    (tmp_path / "run.sqlite").write_text("mine")
    arguments = ("evolve", "--table", "no-table", "--out", str(tmp_path))
    assert "E317" in emq(*arguments).err
    assert "no benchmark table" in emq(*arguments, "--force").err
    assert (tmp_path / "run.sqlite").read_text() == "mine"


def test_a_card_is_written_over_by_force(emq: Emq, tmp_path: Path) -> None:
    path, table = tmp_path / "card.md", "resnet18-fmnist-all"
    assert emq("bench", "card", table, "--out", str(path)).status == 0
    whole = path.read_text()
    path.write_text("mine")
    assert emq("bench", "card", table, "--out", str(path)).status == 3
    assert emq("bench", "card", table, "--out", str(path), "--force").status == 0
    assert path.read_text() == whole and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_a_sentence() -> None:
    command = [sys.executable, "-P", "-m", "emqlang", "ops"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 3 and "no space left on device" in done.stderr
    assert "report" not in done.stderr and "Traceback" not in done.stderr


def refused(claim: Callable[[], Any]) -> str:
    with pytest.raises(EmqError) as failure:
        claim()
    return failure.value.diagnostics[0].code + failure.value.diagnostics[0].message


def test_one_process_at_a_time_has_a_place(tmp_path: Path) -> None:
    output, path = Output(finished=()), tmp_path / "a.table"
    with output.claimed(path):
        child = subprocess.run(
            [sys.executable, "-c", HOLD.format(path=str(path))],
            capture_output=True,
            text=True,
            check=False,
        )
        assert f"E318 process {os.getpid()}, since" in child.stdout, child.stderr
    assert list(tmp_path.iterdir()) == []
    with output.claimed(path):
        pass


HOLD = """
from pathlib import Path
from emqlang.grammar.diagnostics import EmqError
from emqlang.tasks.outputs import Output
try:
    with Output(finished=()).claimed(Path({path!r})):
        pass
except EmqError as refused:
    print(refused.diagnostics[0].code, refused.diagnostics[0].message)
"""


def test_a_lock_that_a_dead_process_left_is_taken(tmp_path: Path) -> None:
    (tmp_path / ".a.table.lock").write_text("process 1, since 00:00:00,")
    with Output(finished=()).claimed(tmp_path / "a.table"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_left_is_swept_and_a_living_ones_stays(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for name in (f".a.{dead.pid}.12ab.part", f".a.{dead.pid}.12ab.part-journal"):
        (tmp_path / name).touch()
    (tmp_path / f".a.{os.getppid()}.12ab.part").touch()
    write_text(tmp_path / "a", "whole")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"a", f".a.{os.getppid()}.12ab.part"}


def test_what_a_link_points_to_is_written(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "target")
    with Output().claimed(link):
        write_text(link, "whole")
    assert link.is_symlink() and (tmp_path / "target").read_text() == "whole"
    assert refused(lambda: Output().claimed(link).__enter__()).startswith("E317")


def test_a_link_and_what_it_points_to_are_one_place(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).symlink_to(tmp_path / "folder" / "target")
    with Output().claimed(tmp_path / "one"):
        for name in ("one", "two", "folder/target"):
            assert refused(lambda n=name: Output().claimed(tmp_path / n).__enter__()).startswith(  # type: ignore[misc]
                f"E318process {os.getpid()}"
            )
        write_text(tmp_path / "one", "whole")
    with Output(replaced=("",)).claimed(tmp_path / "two", force=True):
        assert not (tmp_path / "folder" / "target").exists()
        write_text(tmp_path / "two", "anew")
    assert (tmp_path / "folder" / "target").read_text() == "anew"
    assert all((tmp_path / name).is_symlink() for name in ("one", "two"))


@pytest.mark.parametrize("words", [("evolve", "--steps", "1"), ("bench", "build", "--rows", "2")])
def test_the_second_of_two_commands_is_told_who_writes(
    emq: Emq, words: tuple[str, ...], tmp_path: Path
) -> None:
    place = tmp_path / "place"
    with Output(finished=(), folder=words[0] == "evolve").claimed(place):
        for more in ((), ("--force",)):
            done = emq(*words, "--out", str(place), *more)
            assert done.status == 3 and "error[E318]" in done.err and str(os.getpid()) in done.err
    assert not place.exists()


def test_what_is_no_file_is_not_written_to(tmp_path: Path) -> None:
    for path, output in ((Path("/dev/null"), Output()), (tmp_path, Output())):
        assert refused(lambda p=path, o=output: o.claimed(p).__enter__()).startswith("E301")  # type: ignore[misc]


def test_force_without_a_place_is_refused(emq: Emq) -> None:
    done = emq("assign", "numel", "--avg-bits", "3", *MODEL, "--force")
    assert done.status == 2 and "--force is not used without --out" in done.err


def test_a_name_that_is_no_text_is_written_to_and_printed(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.json")
    words = ["-P", "-m", "emqlang", "assign", "bits", "--avg-bits", "3", "--out", name]
    for more in ([], ["--force", "--json"]):
        done = subprocess.run(
            [sys.executable, *words, *more],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0 and (tmp_path / name).is_file(), done.stderr
