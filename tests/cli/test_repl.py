"""The REPL: statements, names, commands, batch mode, the keyboard, and the way out."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from commands import Emq
from prompt_toolkit.document import Document

from emqlang.cli.repl import keyboard
from emqlang.cli.repl.commands import COMMANDS
from emqlang.cli.repl.conversation import batch, converse, statements
from emqlang.cli.repl.interpreter import Interpreter
from emqlang.grammar import load_file
from emqlang.grammar.diagnostics import EmqError
from emqlang.grammar.expr import statistic
from emqlang.grammar.library import LIBRARY
from emqlang.tasks.judge import Judge
from emqlang.tasks.workbench import Workbench, WorkbenchOptions


class Loaded:
    """An interpreter that is there already."""

    def __init__(self, interpreter: Interpreter) -> None:
        self.loaded = interpreter

    def interpreter(self) -> Interpreter:
        return self.loaded


@pytest.fixture(scope="module")
def workbench() -> Workbench:
    return Workbench(WorkbenchOptions(weights="random", cache=False))


@pytest.fixture
def talk(workbench: Workbench) -> Interpreter:
    return Interpreter(workbench)


@pytest.fixture(scope="module")
def judged() -> Interpreter:
    """With a table of its own network."""
    bench = Workbench(WorkbenchOptions(stat_images=16, cache=False))
    return Interpreter(bench, Judge.at_hand(bench))


def typed(*lines: str | type[BaseException]) -> Callable[[], str]:
    """A keyboard: each statement as it is read, or an exception; Ctrl-D at the end."""
    keys: Iterator[str | type[BaseException]] = iter(lines)

    def read() -> str:
        line = next(keys, EOFError)
        if isinstance(line, str):
            return line
        raise line

    return read


def said(talk: Interpreter, statement: str, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    talk.execute(statement)
    return capsys.readouterr().out


def test_an_expression_is_evaluated_and_kept(
    talk: Interpreter, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "conv1" in said(talk, "mean(abs(w))", capsys)
    assert talk.program("_ * 2").expr.args[0] == talk.program("mean(abs(w))").expr
    assert talk.program("").expr == talk.program("mean(abs(w))").expr


def test_names_are_bound_and_bound_anew(talk: Interpreter) -> None:
    talk.execute("a = abs(w)")
    talk.execute("a = mean(a)")
    assert talk.program("a").expr == talk.program("mean(abs(w))").expr


def test_the_library_is_known_with_what_its_proxies_were_made_for(talk: Interpreter) -> None:
    assert talk.program("synflow * 2").expr == talk.program("sum(grad_synflow * abs(w)) * 2").expr
    assert talk.program("length_spread").domain == LIBRARY["length_spread"].domain
    talk.execute("length_spread = sum(w)")
    assert not talk.program("length_spread").domain


@pytest.mark.parametrize(
    ("line", "code", "column"),
    [
        ("a = log(wx)", "E102", 9),
        ("w = 1", "E108", 1),
        ("log(", "E101", 5),
        ("a = b = w", "E101", 7),
    ],
)
def test_mistakes_point_at_the_line_as_typed(
    talk: Interpreter, line: str, code: str, column: int
) -> None:
    with pytest.raises(EmqError) as mistake:
        talk.execute(line)
    record = mistake.value.diagnostics[0].as_dict()
    assert (record["code"], record["file"], record["column"]) == (code, "<repl>", column)
    assert talk.bound == {}


def test_comments_and_blank_lines_do_nothing(
    talk: Interpreter, capsys: pytest.CaptureFixture[str]
) -> None:
    for line in ("", "   ", "# only a remark"):
        talk.execute(line)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("prefix", [":ki", ":kinds", ":kin"])
def test_commands_go_by_prefix(
    talk: Interpreter, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "weight" in said(talk, f"{prefix} log(abs(w))", capsys)


@pytest.mark.parametrize("line", [":modle", ":", ":x"])
def test_a_command_that_does_not_exist_is_refused(talk: Interpreter, line: str) -> None:
    with pytest.raises(EmqError, match="there is no command"):
        talk.execute(line)


def test_a_prefix_of_several_commands_names_them(talk: Interpreter) -> None:
    with pytest.raises(EmqError, match="may mean :sensitivity or :save"):
        talk.execute(":s")


def test_help_lists_every_command(talk: Interpreter, capsys: pytest.CaptureFixture[str]) -> None:
    shown = said(talk, ":help", capsys)
    assert all(f":{name} {one.takes}".rstrip() in shown for name, one in COMMANDS.items())


@pytest.mark.parametrize("name", ["ops", "canonical", "graph", "kinds", "model", "latex"])
def test_what_needs_no_table_answers(
    talk: Interpreter, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    talk.execute("mean(abs(w))")
    assert said(talk, f":{name}", capsys)


def test_what_is_saved_can_be_loaded(
    talk: Interpreter, workbench: Workbench, tmp_path: Path
) -> None:
    path = tmp_path / "mine.emq"
    talk.execute("a = abs(w)")
    talk.execute("a = mean(a)")
    talk.execute(f":save {path}")
    assert load_file(path)["a"].expr == talk.bound["a"].expr
    with pytest.raises(EmqError, match="already"):
        talk.execute(f":save {path}")
    other = Interpreter(workbench)
    other.execute(f":load {path}")
    assert other.bound["a"].expr == talk.bound["a"].expr
    with pytest.raises(EmqError):
        other.execute(f":load {tmp_path / 'none.emq'}")


def test_a_model_that_cannot_be_loaded_leaves_the_old_one(talk: Interpreter) -> None:
    before = talk.workbench
    with pytest.raises(EmqError):
        talk.execute(":model resnet19")
    assert talk.workbench is before


def test_keys(talk: Interpreter, capsys: pytest.CaptureFixture[str]) -> None:
    keys = typed("log(", KeyboardInterrupt, "a = sum(\nw)", "nonsense", "b = a\nc = b")
    assert converse(Loaded(talk), keys) == 0  # type: ignore[arg-type]
    assert talk.bound["a"].expr == talk.program("sum(w)").expr and list(talk.bound) == [
        "a",
        "b",
        "c",
    ]
    assert "unknown name 'nonsense'" in capsys.readouterr().err
    assert converse(Loaded(talk), typed(":quit", "d = w")) == 0  # type: ignore[arg-type]
    assert "d" not in talk.bound


def test_statistics_stay_loaded(talk: Interpreter) -> None:
    talk.execute("mean(abs(w))")
    network = talk.workbench.network
    talk.execute("mean(square(w))")
    assert talk.workbench.network is network


def test_a_line_says_what_the_table_thinks_of_it(
    judged: Interpreter, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = said(judged, "log(abs(grad_synflow)) * sqrt(mean(abs(w)))", capsys)
    assert "canonical" in shown and "on resnet18-fmnist-all" in shown and "@100% 0.6" in shown
    assert "(.08" not in shown or "regret" in shown
    ranked = said(judged, ":rank _", capsys)
    assert "@100%" in ranked and "bit_sum" in ranked
    assert "scores that are not finite" in said(judged, "exp(exp(numel))", capsys)


def test_sensitivity_alone_and_in_company(
    judged: Interpreter, capsys: pytest.CaptureFixture[str]
) -> None:
    additive = said(judged, ":sensitivity mean(abs(w))", capsys)
    assert "alone W2" in additive and "in company W2" not in additive and "separates" in additive
    joint = said(judged, ":sensitivity fisher_cross", capsys)
    assert "alone W2" in joint and "in company W3" in joint
    shares = [float(line.split("%")[0].split()[-1]) for line in joint.splitlines() if "%" in line]
    assert len(shares) == 18 and sum(map(abs, shares)) == pytest.approx(100, abs=1)


def test_two_proxies_are_compared_layer_by_layer(
    judged: Interpreter, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = said(judged, ":compare synflow, mean(abs(w)) * bits", capsys)
    assert "Spearman" in shown and "of 18 groups differ" in shown and "layer4.1.conv2" in shown
    same = said(judged, ":compare synflow synflow", capsys)
    assert "Spearman 1.000" in same and "0 of 18 groups differ" in same
    for wrong in (":compare", ":compare synflow", ":compare synflow, w, w"):
        with pytest.raises(EmqError):
            judged.execute(wrong)


def test_bits_are_assigned(judged: Interpreter, capsys: pytest.CaptureFixture[str]) -> None:
    average = said(judged, ":assign 3 synflow", capsys)
    assert "proven optimal" in average and "of 3 bits" in average
    assert "of 0.29 MiB" in said(judged, ":assign size=0.29MiB synflow", capsys)
    for wrong in (":assign", ":assign synflow", ":assign 1 synflow"):
        with pytest.raises(EmqError):
            judged.execute(wrong)


def test_neighbours_are_ranked_on_the_rows_of_searches_and_on_others(
    judged: Interpreter, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = said(judged, ":neighbours mean(abs(w))", capsys)
    assert "held out" in shown and "mutations" in shown
    found = re.findall(r"\d\.\d{3}\s+([+-]\d\.\d{3})\s+-?\d\.\d{3}", shown)
    gains = [float(gain) for gain in found]
    assert len(gains) == 10 and gains == sorted(gains, reverse=True)
    assert shown == said(judged, ":neighbours mean(abs(w))", capsys)


def test_a_table_is_loaded_by_name(
    talk: Interpreter, judged: Interpreter, capsys: pytest.CaptureFixture[str]
) -> None:
    for line in (":table", ":rank w", ":neighbours w"):
        with pytest.raises(EmqError, match="no table is loaded"):
            talk.execute(line)
    other = Interpreter(judged.workbench)
    assert "400 rows" in said(other, ":table resnet18-fmnist-edge", capsys)
    assert other.judge is not None and other.judge.bench is judged.workbench
    with pytest.raises(EmqError, match="no benchmark table 'nothing'"):
        other.execute(":table nothing")
    assert other.judge.table.name == "resnet18-fmnist-edge"


def test_piped_statements_run_to_the_first_mistake(emq: Emq) -> None:
    done = emq("repl", "--weights", "random", stdin="a = mean(\n  abs(w))\na\nlog(wx)\n:help\n")
    assert done.status == 1
    assert "conv1" in done.out and ":quit" not in done.out
    assert "<repl>:1:5" in done.err and "emq>" not in done.out


def test_piped_statements_may_quit(emq: Emq) -> None:
    assert emq("repl", stdin="a = w\n:quit\nlog(wx)\n").status == 0


def test_a_network_or_table_that_is_not_there_is_an_error(emq: Emq) -> None:
    for words in (("--model", "resnet19"), ("--table", "nothing")):
        done = emq("repl", *words, stdin="w\n")
        assert done.status in (2, 3) and "there is no" in done.err and "Traceback" not in done.err


def test_what_is_no_text_is_refused(talk: Interpreter, tmp_path: Path) -> None:
    path = tmp_path / "binary"
    path.write_bytes(b"mean(w)\n\xff\xfe\x00")
    with path.open(encoding="utf-8") as stream, pytest.raises(EmqError, match="not utf-8 text"):
        batch(Loaded(talk), stream)  # type: ignore[arg-type]


def test_a_pipe_gets_no_prompt(talk: Interpreter, capsys: pytest.CaptureFixture[str]) -> None:
    assert batch(Loaded(talk), StringIO("a = w\n")) == 0  # type: ignore[arg-type]
    assert capsys.readouterr() == ("", "")


def test_the_last_result_is_a_name(talk: Interpreter) -> None:
    with pytest.raises(EmqError, match="unknown name '_'"):
        talk.execute("_")
    talk.execute("numel")
    assert talk.last is not None and talk.program("_").expr == statistic("numel")


def test_statements_go_on_while_a_bracket_is_open() -> None:
    lines = ["a = sum(\n", "w)\n", ":load a(b\n", "log(\n"]
    assert [*statements(lines)] == ["a = sum(\nw)", ":load a(b", "log("]


def test_history_lies_in_the_state_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    keyboard.history().append_string("mean(w)")
    path = tmp_path / "emqlang" / "repl-history"
    assert keyboard.history_path() == path and "mean(w)" in path.read_text()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    keyboard.history().append_string("mean(w)")
    assert "the history is not kept" in capsys.readouterr().err


def offered(text: str) -> set[str]:
    words = keyboard.Words(lambda: ("mine", ":model", ":rank"))
    event: Any = None
    return {one.text for one in words.get_completions(Document(text), event)}


def test_tab_offers_ops_statistics_names_commands_and_tables() -> None:
    assert {"log", "grad_synflow", "mine", "hawq_v2"} <= offered("")
    assert offered("mean(grad_syn") == {"grad_synflow"} and offered(":m") == {":model"}
    assert offered("sum(mi") >= {"mine", "min"}
    assert {"vgg-fmnist-edge", "vgg-fmnist-all"} <= offered(":table vgg")


def test_words_have_the_colour_of_what_they_are() -> None:
    line = keyboard.Colours(lambda: ("mine",)).lex_document(Document(":rank log(w) * mine # 2"))
    styles = {text: style for style, text, *_ in line(0)}
    assert styles["log"] == "class:op" and styles["w"] == "class:statistic"
    assert styles["mine"] == "class:proxy" and styles["# 2"] == "class:comment"
    assert styles[":rank "] == "class:command"
    assert "".join(text for _, text, *_ in line(0)) == ":rank log(w) * mine # 2"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
@pytest.mark.parametrize("columns", [40, 80])
def test_in_a_terminal(columns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake, Ctrl-C, an answer, a statement of two lines, and Ctrl-D; no traceback."""
    pexpect = pytest.importorskip("pexpect")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("PROMPT_TOOLKIT_NO_CPR", "1")
    monkeypatch.delenv("COLUMNS", raising=False)
    words = ["-m", "emqlang", "repl", "--weights", "random"]
    child = pexpect.spawn(
        sys.executable, words, dimensions=(60, columns), encoding="utf-8", timeout=90
    )
    child.expect("emq>")
    child.send("log(wx)\r")
    child.expect("unknown name")
    child.expect("emq>")
    child.send("half(\x03")
    child.send("mean(abs(w))\r")
    child.expect("conv1")
    child.expect("emq>")
    child.send("a = sum(\rw)\r:latex a\r")
    child.expect("sum")
    child.send("\x04")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0 and "Traceback" not in str(child.before)
    assert "mean(abs(w))" in (tmp_path / "emqlang" / "repl-history").read_text()
