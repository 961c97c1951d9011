"""The REPL: statements, names, commands, batch mode, and the way out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest
from commands import Emq

from emqlang.cli import conversation as repl
from emqlang.cli.conversation import COMMANDS, Repl, converse
from emqlang.grammar.diagnostics import EmqError
from emqlang.grammar.expr import statistic
from emqlang.tasks.workbench import Workbench, WorkbenchOptions


@pytest.fixture(scope="module")
def workbench() -> Workbench:
    return Workbench(WorkbenchOptions(weights="random", cache=False))


@pytest.fixture
def talk(workbench: Workbench) -> Repl:
    return Repl(workbench)


def typed(*lines: str | type[BaseException]) -> Callable[[str], str]:
    """A keyboard: each line as it is read, or an exception; Ctrl-D at the end."""
    keys: Iterator[str | type[BaseException]] = iter(lines)

    def read(prompt: str) -> str:
        line = next(keys, EOFError)
        if isinstance(line, str):
            return line
        raise line

    return read


def test_an_expression_is_evaluated_and_kept(
    talk: Repl, capsys: pytest.CaptureFixture[str]
) -> None:
    talk.execute("mean(abs(w))")
    assert "conv1" in capsys.readouterr().out
    assert talk.program("_ * 2").expr.args[0] == talk.program("mean(abs(w))").expr
    assert talk.program("").expr == talk.program("mean(abs(w))").expr


def test_names_are_bound_and_bound_anew(talk: Repl) -> None:
    talk.execute("a = abs(w)")
    talk.execute("a = mean(a)")
    assert talk.program("a").expr == talk.program("mean(abs(w))").expr


def test_the_library_is_known(talk: Repl) -> None:
    assert talk.program("synflow * 2").expr == talk.program("sum(grad_synflow * abs(w)) * 2").expr


@pytest.mark.parametrize(
    ("line", "code", "column"),
    [
        ("a = log(wx)", "E102", 9),
        ("w = 1", "E108", 1),
        ("log(", "E101", 5),
        ("a = b = w", "E101", 7),
    ],
)
def test_mistakes_point_at_the_line_as_typed(talk: Repl, line: str, code: str, column: int) -> None:
    with pytest.raises(EmqError) as mistake:
        talk.execute(line)
    record = mistake.value.diagnostics[0].as_dict()
    assert (record["code"], record["file"], record["column"]) == (code, "<repl>", column)
    assert talk.bound == {}


def test_comments_and_blank_lines_do_nothing(
    talk: Repl, capsys: pytest.CaptureFixture[str]
) -> None:
    for line in ("", "   ", "# only a remark"):
        talk.execute(line)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("prefix", [":k", ":kind", ":ki"])
def test_commands_go_by_prefix(talk: Repl, prefix: str, capsys: pytest.CaptureFixture[str]) -> None:
    talk.execute(f"{prefix} log(abs(w))")
    assert "weight" in capsys.readouterr().out


def test_a_command_that_does_not_exist_is_refused(talk: Repl) -> None:
    for line in (":modle", ":", ":x"):
        with pytest.raises(EmqError, match="there is no command"):
            talk.execute(line)


def test_help_lists_every_command(talk: Repl, capsys: pytest.CaptureFixture[str]) -> None:
    talk.execute(":help")
    shown = capsys.readouterr().out
    assert all(f":{name}" in shown for name in COMMANDS)
    assert not {line[24] for line in shown.splitlines() if line} - {" "}


@pytest.mark.parametrize(
    "command", [":ops", ":ops log", ":canonical", ":graph", ":kind", ":time", ":model"]
)
def test_every_command_answers(
    talk: Repl, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    talk.execute("mean(abs(w))")
    capsys.readouterr()
    talk.execute(command)
    assert any(capsys.readouterr())


def test_what_is_saved_can_be_loaded(talk: Repl, tmp_path: Path) -> None:
    from emqlang.grammar import load_file

    path = tmp_path / "mine.emq"
    talk.execute("a = abs(w)")
    talk.execute("a = mean(a)")
    talk.execute(f":save {path}")
    assert load_file(path)["a"].expr == talk.bound["a"]
    with pytest.raises(EmqError, match="already"):
        talk.execute(f":save {path}")


def test_a_model_that_cannot_be_loaded_leaves_the_old_one(talk: Repl) -> None:
    before = talk.workbench
    with pytest.raises(EmqError):
        talk.execute(":model resnet19")
    assert talk.workbench is before


def test_keys(talk: Repl, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        converse(talk, typed("log(", KeyboardInterrupt, "a = sum(", "w)", "nonsense", "b = a")) == 0
    )
    assert talk.bound["a"] == talk.program("sum(w)").expr and list(talk.bound) == ["a", "b"]
    assert "unknown name 'nonsense'" in capsys.readouterr().err
    assert converse(talk, typed(":quit", "c = w")) == 0
    assert "c" not in talk.bound


def test_statistics_stay_loaded(talk: Repl, monkeypatch: pytest.MonkeyPatch) -> None:
    talk.execute("mean(abs(w))")
    network = talk.workbench.network
    talk.execute("mean(square(w))")
    assert talk.workbench.network is network


def test_piped_statements_run_to_the_first_mistake(emq: Emq) -> None:
    done = emq("repl", "--weights", "random", stdin="a = mean(\n  abs(w))\na\nlog(wx)\n:help\n")
    assert done.status == 1
    assert "conv1" in done.out and ":quit" not in done.out
    assert "<repl>:1:5" in done.err and "emq>" not in done.out


def test_piped_statements_may_quit(emq: Emq) -> None:
    assert emq("repl", stdin="a = w\n:quit\nlog(wx)\n").status == 0


def test_history_lies_in_the_state_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from emqlang.cli.conversation import history_path, line_editing

    pytest.importorskip("readline")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with line_editing(lambda: ["w"]):
        pass
    assert history_path() == tmp_path / "emqlang" / "history" and history_path().is_file()


def test_tab_offers_ops_statistics_names_and_commands(talk: Repl) -> None:
    talk.execute("mine = w")
    assert {"log", "grad_synflow", "mine", "hawq_v2", ":model"} <= set(repl.words(talk))


def test_a_pipe_gets_no_prompt(talk: Repl, capsys: pytest.CaptureFixture[str]) -> None:
    assert repl.start(talk, StringIO("a = w\n")) == 0
    assert capsys.readouterr() == ("", "")


def test_the_last_result_is_a_name(talk: Repl) -> None:
    talk.execute("numel")
    assert talk.last == {"_": statistic("numel")}
