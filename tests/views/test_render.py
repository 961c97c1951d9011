"""Streams, colour and layout."""

from __future__ import annotations

import io
import json

import click
import pytest

from emqlang.grammar.diagnostics import Diagnostic, Source, Span
from emqlang.views import render, ticker

WRONG = Diagnostic(
    "E102",
    "unknown name 'wx'",
    Source("<arg>", "log(wx)"),
    Span(4, 6),
    "not a statistic or op",
    ("did you mean 'w'?",),
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.mark.parametrize(
    ("environment", "terminal", "expected"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, True, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, False, True),
    ],
)
def test_when_text_is_coloured(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], terminal: bool, expected: bool
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert render.coloured(Terminal() if terminal else io.StringIO()) is expected


def test_a_diagnostic_goes_to_stderr_as_it_renders_itself(
    capsys: pytest.CaptureFixture[str],
) -> None:
    render.diagnostics([WRONG])
    assert capsys.readouterr() == ("", WRONG.render() + "\n")


def test_colour_changes_nothing_but_colour(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import click

    monkeypatch.setenv("FORCE_COLOR", "1")
    render.diagnostics([WRONG])
    painted = capsys.readouterr().err
    assert "\x1b[31m" in painted
    assert click.unstyle(painted) == WRONG.render() + "\n"


def test_json_errors_are_on_both_streams(capsys: pytest.CaptureFixture[str]) -> None:
    render.failure([WRONG], as_json=True)
    out, err = capsys.readouterr()
    assert json.loads(out)["errors"] == [
        {
            "code": "E102",
            "message": "unknown name 'wx'",
            "help": ["did you mean 'w'?"],
            "file": "<arg>",
            "line": 1,
            "column": 5,
            "end_column": 7,
        }
    ]
    assert err == WRONG.render() + "\n"


def test_what_is_not_finite_is_null_at_any_depth(capsys: pytest.CaptureFixture[str]) -> None:
    nan, inf = float("nan"), float("inf")
    render.json_object({"value": nan, "rows": [1.5, {"low": -inf}, (inf, 2)]})
    assert json.loads(capsys.readouterr().out) == {
        "value": None,
        "rows": [1.5, {"low": None}, [None, 2]],
    }


def test_csv_has_a_header_full_precision_and_empty_cells(
    capsys: pytest.CaptureFixture[str],
) -> None:
    render.csv_rows(["name", "value"], [["a,b", 0.1 + 0.2], ["c", None], ["d", float("nan")]])
    assert capsys.readouterr().out == 'name,value\n"a,b",0.30000000000000004\nc,\nd,\n'


def test_a_table_fits_the_terminal_and_ends_no_line_with_blanks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    render.table(
        [render.Column("name"), render.Column("what it is", folds=True)],
        [["w", "the weight, " * 9], ["[bold]", "x"]],
    )
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 40 and line == line.rstrip() for line in lines)
    assert any("[bold]" in line for line in lines)
    assert not any("\x1b" in line for line in lines)


@pytest.mark.parametrize(
    ("width", "heads"), [(40, ["name", "tau", "ms"]), (20, ["name", "tau"]), (12, ["name"])]
)
def test_optional_columns_give_way_to_a_narrow_terminal_and_are_named(
    width: int,
    heads: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    columns = [
        render.Column("name"),
        render.Column("tau", optional=True),
        render.Column("ms", optional=True),
    ]
    render.table(columns, [("a_long_name", "0.5", "12.25")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == heads and lines[2].split()[0] == "a_long_name"
    left_out = [name for name in ("tau", "ms") if name not in heads]
    assert (
        " ".join(lines[4:]) == f"hidden (terminal too narrow): {', '.join(left_out)}"
        if left_out
        else len(lines) == 3
    ), lines


@pytest.mark.parametrize("width", [18, 26, 40, 80])
def test_no_digit_and_no_name_is_cut_at_any_width(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not fit side by side goes below, each block with the first column."""
    monkeypatch.setenv("COLUMNS", str(width))
    columns = [render.Column("name"), *(render.Column(top, "right") for top in ("@20%", "@50%"))]
    rows = [("layer4.0.conv2", "-1.2345e-05", "0.8652"), ("fc", "0.5", ".41–1.00")]
    render.table(columns, rows)
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= width for line in lines)
    shown = " ".join(lines)
    for row in rows:
        assert all(cell in shown for cell in row[1:])
    firsts = "".join(line.split("   ")[0].strip() for line in lines[2:])
    assert firsts.startswith("layer4.0.conv2")
    assert ("name" in lines[0]) and sum(line.startswith("name") for line in lines) == (
        1 if width >= 40 else 2
    )


def test_names_and_values_are_below_each_other_where_there_is_no_room(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    render.fields([("a name of some length", "and a value that is longer than that by far")])
    head, *values = capsys.readouterr().out.splitlines()
    assert head == "a name of some length"
    assert " ".join(value.strip() for value in values).startswith("and a value")
    assert all(len(value) <= 40 and value.startswith("  ") for value in values)


def test_messages_are_broken_between_words_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a file they are lines, whatever COLUMNS says; paths stay whole in either."""
    sentence = "the score falls as bits rise in 18 of 18 groups: conv1, layer1.0.conv1 and more"
    path = f"kept in /a/{'long/' * 12}path"
    monkeypatch.setenv("COLUMNS", "44")
    for stream, most in ((Terminal(), 44), (io.StringIO(), 1000)):
        monkeypatch.setattr("sys.stderr", stream)
        render.diagnostics([Diagnostic("W602", sentence, help=(sentence,))])
        render.note(sentence)
        lines = click.unstyle(stream.getvalue()).splitlines()
        assert max(map(len, lines)) <= most and lines[0].startswith("warning[W602]: the score")
        assert " ".join(line.strip() for line in lines).count(sentence) == 3
        assert len(lines) == 3 or most < 1000
        render.note(path)
        assert path.partition(" in ")[2] in stream.getvalue()


def test_an_internal_error_is_one_line_unless_debugging(capsys: pytest.CaptureFixture[str]) -> None:
    render.internal_error(KeyError("x"), debug=False)
    err = capsys.readouterr().err
    assert err.startswith("internal error: KeyError: 'x'")
    assert err.count("\n") == 1


def test_progress_without_a_known_end_counts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticker, "_REPORT", 0.0)
    with ticker.progress() as progress:
        progress("float", 1_000, 0)
        progress("float", 2_000, 0)
        progress("quantized", 64, 128)
    assert capsys.readouterr().err == "float: 1,000\nfloat: 2,000\nquantized: 64/128\n"


@pytest.mark.parametrize("columns", [30, 60, 80, 120])
def test_progress_stays_on_one_line(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr(ticker, "_TICK", 0.0)
    name = (
        "best 0.8090: -mean(sqrt(total(square(shift)) + square(total(shift)))); median 0.61, 378/s"
    )
    with ticker.progress() as progress:
        progress(name, 10, 20_000)
        progress(name, 1_928, 20_000)
    lines = terminal.getvalue().split("\r\x1b[K")[1:-1]
    assert len(lines) == 2 and all(len(line) < columns for line in lines)
    assert all("/20,000" in line and line.startswith("best 0.80"[: columns - 28]) for line in lines)
    assert "━" not in lines[-1]
