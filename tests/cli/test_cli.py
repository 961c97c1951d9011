"""The command line as a whole: help, streams, exit statuses, and the commands about text."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import click
import pytest
from command_line import BENCH, COMMANDS, NAMES, command_of
from commands import Emq

from emqlang.cli import EXIT_STATUS
from emqlang.grammar.codes import CODES
from emqlang.grammar.inputs import INPUTS
from emqlang.grammar.ops import OPS

EXPORT = """\
syn = sum(abs(w * grad_synflow))  # Synflow
## the same, mean
means = mean(abs(w * grad_synflow))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "proxies.emq").write_text(EXPORT)
    (tmp_path / "wrong.emq").write_text("a = log(wx)\nb = w +\nc = a + act * w\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def examples(words: str) -> tuple[str, ...]:
    return command_of(words).examples


def test_help_lists_every_command_and_every_exit_status(emq: Emq) -> None:
    shown = emq("--help")
    assert shown.status == 0 and shown.err == ""
    assert all(f"  {name} " in shown.out for name in NAMES)
    assert all(f"{status:>3}  {meaning}" in shown.out for status, meaning in EXIT_STATUS.items())
    assert {row.exit for row in CODES.values()} <= set(EXIT_STATUS)


def test_help_starts_with_examples(emq: Emq) -> None:
    for name in COMMANDS:
        shown = emq(*name.split(), "--help")
        usage, title, *rest = [line for line in shown.out.splitlines() if line.strip()]
        assert usage.startswith(f"Usage: emqlang {name}")
        assert title == "Examples:"
        assert 2 <= len(examples(name)) <= 4, name
        assert [line.strip() for line in rest[: len(examples(name))]] == list(examples(name))


def test_the_command_and_the_list_say_the_same() -> None:
    assert [command_of(name).name for name in COMMANDS] == [name.split()[-1] for name in COMMANDS]


def test_help_names_what_an_option_is() -> None:
    """Not "Of the resamples", but "Seed of the resamples"."""
    options = [
        (name, param)
        for name in COMMANDS
        for param in command_of(name).params
        if isinstance(param, click.Option)
    ]
    assert not [(name, p.name, p.help) for name, p in options if (p.help or "").startswith("Of ")]


TESTED_ELSEWHERE = {
    *("eval", "repl", "assign", "quantize", "qat", "evaluate", "export", "rank", "experiment"),
    *("plot scores", "plot scatter", "plot pareto", "plot bits", "plot graph", "plot matrix"),
}
OF_A_RUN = {"plot curves", "plot funnel", "evolve", "front", "top", "lineage", "why", "report"}
LIGHT = [name for name in COMMANDS if name not in {*TESTED_ELSEWHERE, *OF_A_RUN, *BENCH}]


@pytest.mark.parametrize("name", LIGHT)
def test_examples_run(emq: Emq, folder: Path, name: str) -> None:
    for line in examples(name):
        if line.startswith("emqlang"):
            words = shlex.split(re.split(r" [<>] ", line)[0])
            result = emq(*words[1:], stdin=EXPORT)
            assert result.status in (0, 1) and "error" not in result.err, line


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("check", "proxies.emq"), 0),
        (("check", "log(abs(w))"), 0),
        (("check", "wrong.emq"), 1),
        (("check", "log(wx)"), 1),
        (("check", "missing.emq"), 3),
        (("fmt", "missing.emq"), 3),
        (("equiv", "w * numel", "numel * w"), 0),
        (("equiv", "w * numel", "w + numel"), 1),
        (("explain", "nonsense"), 1),
        (("evl",), 2),
        (("eval",), 2),
        (("eval", "--bits", "two", "w"), 2),
        (("eval", "--bits", "2", "--menu", "W2A8", "w"), 2),
        (("eval", "--proxy", "hawk_v2"), 1),
        (("eval", "--model", "resnet19", "w"), 3),
        (("eval", "--weights", "missing.safetensors", "w"), 3),
        (("eval", "--data", "missing", "mean(grad)"), 3),
        (("show", "--stage", "nothing", "w"), 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
def test_exit_status(emq: Emq, folder: Path, arguments: tuple[str, ...], status: int) -> None:
    result = emq(*arguments)
    assert result.status == status
    assert "Traceback" not in result.err
    if status:
        assert result.err or arguments[0] == "equiv"


def test_a_bug_of_ours_is_one_line_and_70(emq: Emq, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr("emqlang.cli.explain.explain", broken)
    result = emq("explain", "log")
    assert result.status == 70 and result.out == ""
    assert result.err.startswith("internal error: KeyError: 'x'") and result.err.count("\n") == 1
    assert "Traceback" in emq("explain", "log", "--debug").err
    assert "Traceback" in emq("--debug", "explain", "log").err
    monkeypatch.setenv("EMQLANG_DEBUG", "1")
    assert "Traceback" in emq("explain", "log").err


def test_an_interruption_is_130(emq: Emq, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("emqlang.cli.explain.explain", interrupted)
    assert emq("explain", "log").status == 130


def test_a_command_that_does_not_exist_has_a_neighbour(emq: Emq) -> None:
    assert "did you mean 'eval'?" in emq("evla").err


def test_no_color_works_before_and_after_the_command(
    emq: Emq, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[" in emq("check", "log(wx)").err
    assert "\x1b[" not in emq("check", "log(wx)", "--no-color").err
    assert "\x1b[" not in emq("--no-color", "check", "log(wx)").err


def test_check_reports_every_mistake_of_a_file_with_its_place(emq: Emq, folder: Path) -> None:
    result = emq("check", "wrong.emq")
    assert result.out == ""
    assert "wrong.emq:1:9" in result.err
    assert "wrong.emq:2:" in result.err


def test_check_tells_all_mistakes_and_how_many_there_are(emq: Emq, tmp_path: Path) -> None:
    for count, said in ((1, "1 mistake\n"), (12, "12 mistakes\n"), (130, "100 mistakes and maybe")):
        path = tmp_path / "m.emq"
        path.write_text("".join(f"a{i} = log(wrong{i})\n" for i in range(count)))
        done = emq("check", str(path))
        assert done.status == 1 and done.err.count("error[E102]") == min(count, 100)
        assert said in done.err
    path.write_text("a = mean(w)\n")
    assert "mistake" not in emq("check", str(path)).err


def test_check_reads_stdin(emq: Emq) -> None:
    assert emq("check", "-", stdin="a = log(abs(w))\n").status == 0
    assert emq("check", "-", stdin="log(abs(w))").status == 0
    assert emq("check", "-", stdin="a = log(\n").status == 1


def test_check_json_lists_errors(emq: Emq, folder: Path) -> None:
    result = emq("check", "--json", "log(wx)")
    record = json.loads(result.out)
    assert result.status == 1
    assert [(e["code"], e["line"], e["column"], e["end_column"]) for e in record["errors"]] == [
        ("E102", 1, 5, 7)
    ]


def test_fmt_rewrites_only_what_is_not_in_form(emq: Emq, folder: Path) -> None:
    path = folder / "loose.emq"
    path.write_text("a=mean( abs(w) )\n")
    assert emq("fmt", "--check", "loose.emq").status == 1
    assert path.read_text() == "a=mean( abs(w) )\n"
    assert emq("fmt", "loose.emq").status == 0
    assert path.read_text() == "a = mean(abs(w))\n"
    assert emq("fmt", "--check", "loose.emq").status == 0


def test_fmt_is_a_filter(emq: Emq) -> None:
    assert emq("fmt", "-", stdin="a=mean( abs(w) )\n").out == "a = mean(abs(w))\n"


def test_show_has_every_stage(emq: Emq) -> None:
    for stage in ("tree", "kinds", "graph", "canonical", "plan"):
        shown = emq("show", "--stage", stage, "log(abs(grad_synflow)) * sqrt(mean(abs(w)))")
        assert shown.status == 0 and shown.err == "", stage
        assert "grad_synflow" in shown.out, stage


def test_show_takes_every_form_of_program(emq: Emq, folder: Path) -> None:
    shown = {
        emq("show", "--stage", "canonical", word, stdin="sum(abs(w * grad_synflow))").out
        for word in ("proxies.emq:syn", "@proxies.emq:syn", "-")
    }
    assert len(shown) == 1


def test_ops_json_is_the_whole_language(emq: Emq) -> None:
    record = json.loads(emq("ops", "--json").out)
    assert [row["name"] for row in record["ops"]] == list(OPS)
    assert [row["name"] for row in record["inputs"]] == list(INPUTS)


def test_ops_paper_lists_28_names(emq: Emq) -> None:
    assert len(json.loads(emq("ops", "--paper", "--json").out)["names"]) == 28


def test_everything_is_explained(emq: Emq) -> None:
    for topic in (*CODES, *OPS, *INPUTS):
        shown = emq("explain", topic)
        assert shown.status == 0 and topic in shown.out, topic


def test_simplify_prints_one_expression(emq: Emq) -> None:
    assert emq("simplify", "inv(inv(mean(w)))").out == "mean(w) * bits\n"


def test_simplify_shows_the_rules_that_fired(emq: Emq) -> None:
    shown = emq("simplify", "--trace", "inv(inv(mean(w)))").out
    assert "inv" in shown.splitlines()[0] and shown.splitlines()[-1] == "mean(w) * bits"


def test_equiv_prints_each_level(emq: Emq) -> None:
    shown = emq("equiv", "w * numel", "numel * w").out
    assert all(level in shown for level in ("canonical", "Weisfeiler-Lehman", "sympy"))


def test_the_grammar_is_the_file_that_parses(emq: Emq) -> None:
    assert "?expression: sum" in emq("grammar").out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("emqlang ev", "eval"),
        ("emqlang eval 'log(abs(grad_s", "log(abs(grad_synflow"),
        ("emqlang eval --model resnet18-f", "resnet18-fmnist"),
        ("emqlang eval --proxy hawq", "hawq_v2"),
        ("emqlang explain E10", "E102"),
        ("emqlang explain grad_", "grad_act"),
    ],
)
def test_tab_completes(
    emq: Emq, monkeypatch: pytest.MonkeyPatch, words: str, expected: str
) -> None:
    monkeypatch.setenv("_EMQLANG_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    assert expected in {line.partition(",")[2] for line in emq().out.splitlines()}


@pytest.mark.parametrize(
    ("line", "breaks", "offered"),
    [
        ("emqlang eval mine.emq:", ' "=:', ["best", "other"]),
        ("emqlang eval mine.emq:b", ' "=:', ["best"]),
        ("emqlang eval mine.emq:b", ' "=', ["mine.emq:best"]),
        ("emqlang eval min", ' "=:', ["min", "min_max", "mine.emq"]),
        ("emqlang eval none.emq:", ' "=:', []),
        ('emqlang eval "log(w) + gra', ' "=:', ["log(w) + gram", "log(w) + grad"]),
        ("emqlang rank --table vgg-fmnist-", ' "=:', ["vgg-fmnist-all"]),
        ("emqlang lib", ' "=:', ["library"]),
    ],
)
def test_bash_completes_the_line_as_it_was_typed(
    emq: Emq,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    line: str,
    breaks: str,
    offered: list[str],
) -> None:
    """Names of a file behind its colon, where bash itself takes words apart at colons, too."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.emq").write_text("best = mean(w)\n_own = w\nother = w\n")
    monkeypatch.setenv("_EMQLANG_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_WORDBREAKS", breaks)
    found = [line.partition(",")[2] for line in emq().out.splitlines() if line]
    assert found[: len(offered)] == offered and bool(found) == bool(offered)
    monkeypatch.delenv("_EMQLANG_COMPLETE")
    assert "COMP_LINE" in emq("completion", "bash").out


def test_commands_of_reference_answer_without_an_argument(emq: Emq) -> None:
    shown = emq("explain")
    assert shown.status == 0 and all(code in shown.out for code in CODES)
    assert emq("cache").out == emq("cache", "info").out != ""


def test_check_of_a_folder_says_so(emq: Emq, folder: Path) -> None:
    for words in ((".",), (str(folder),)):
        done = emq("check", *words)
        assert done.status == 3 and "this is a folder" in done.err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("evall",), ("there is no command 'emqlang evall'", "did you mean 'eval'?")),
        (("bench", "lits"), ("there is no command 'emqlang bench lits'", "did you mean 'list'?")),
        (("eval", "--modl", "x"), ("there is no option '--modl'", "did you mean '--model'?")),
        (("--foo",), ("there is no option '--foo'",)),
        (("equiv", "w"), ("missing argument 'B'", "Usage: emqlang equiv [OPTIONS] A B")),
        (("equiv", "w", "w", "w"), ("unexpected extra argument (w)",)),
        (("eval", "--model"), ("option '--model' requires an argument",)),
    ],
)
def test_a_command_line_that_cannot_be_is_one_error_like_others(
    emq: Emq, line: tuple[str, ...], said: tuple[str, ...]
) -> None:
    done = emq(*line)
    assert done.status == 2 and done.out == "" and done.err.startswith("error[E403]: ")
    assert all(each in done.err for each in said) and "--help` " in done.err
    record = json.loads(emq(*line, "--json").out)
    assert record["errors"][0]["code"] == "E403"
