"""The exact text of every mistake, caret included: fixture pairs of input and expected output."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import FIXTURES

from emqlang.grammar import load_text, parse
from emqlang.grammar.codes import CODES
from emqlang.grammar.diagnostics import Diagnostic, EmqError, Source, Span, error, nearest


def cases(name: str) -> list[tuple[str, str, str]]:
    """Title, input and expected output of each block `=== title`, input, `---`, output."""
    blocks = (FIXTURES / name).read_text(encoding="utf-8").split("=== ")[1:]
    split = [block.split("\n", 1) for block in blocks]
    return [(title, *(part.strip("\n") for part in body.split("\n---\n"))) for title, body in split]  # type: ignore[misc]


EXPRESSIONS, FILES = cases("errors.emqtest"), cases("file_errors.emqtest")


@pytest.mark.parametrize(
    ("text", "expected"), [case[1:] for case in EXPRESSIONS], ids=[case[0] for case in EXPRESSIONS]
)
def test_expressions(text: str, expected: str) -> None:
    try:
        output = "\n".join(warning.render() for warning in parse(text).warnings)
    except EmqError as problem:
        output = str(problem)
    assert output == expected


@pytest.mark.parametrize(
    ("text", "expected"), [case[1:] for case in FILES], ids=[case[0] for case in FILES]
)
def test_files(text: str, expected: str) -> None:
    try:
        output = "\n".join(warning.render() for warning in load_text(text, "proxies.emq").warnings)
    except EmqError as problem:
        output = str(problem)
    assert output == expected


def test_every_code_of_the_language_has_a_fixture() -> None:
    shown = "".join(case[2] for case in EXPRESSIONS + FILES)
    limits = {"E104", "E106", "E111", "E204"}  # of sizes, bytes and menus: tested elsewhere
    assert {code for code in CODES if code[:2] in ("E1", "E2")} - limits <= {
        code for code in CODES if f"[{code}]" in shown
    }


def test_messages_are_one_lowercase_sentence() -> None:
    for _, _, output in EXPRESSIONS + FILES:
        for line in output.split("\n"):
            if line.startswith(("error[", "warning[")):
                message = line.split(": ", 1)[1]
                assert not message.endswith(".") and not message[0].isupper(), line


@pytest.mark.parametrize(
    ("text", "shown", "carets"),
    [
        ("重み ^", "重み ^", "     ^"),  # wide characters take two columns
        ("é\u0301x ^", "é\u0301x ^", "   ^"),  # combining ones take none
        (
            "\tw\t^",
            "\tw\t^",
            "\t \t^",
        ),  # tabs stay, so that whatever their width, the caret is below
        (
            "w\u00a0^",
            "w\ufffd^",
            "  ^",
        ),  # what is not printed as itself is shown as such, and steers no terminal
        ("\x1b[31m^", "\ufffd[31m^", "     ^"),
        ("w ^\r", "w ^", "  ^"),
    ],
)
def test_the_caret_is_below_its_character(text: str, shown: str, carets: str) -> None:
    place = text.index("^")
    lines = (
        Diagnostic("E101", "message", Source("<arg>", text), Span(place, place + 1))
        .render()
        .split("\n")
    )
    assert lines[3:] == [f"1 | {shown}", f"  | {carets}"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("w\u00a0+ 1", "U+00A0 (no-break space)"),
        ("w + \x1b[31mw", "U+001B (control character)"),
        ("w\x00", "U+0000 (control character)"),
    ],
)
def test_an_invisible_character_is_named(text: str, message: str) -> None:
    with pytest.raises(EmqError) as caught:
        parse(text)
    assert caught.value.diagnostics[0].message == f"unexpected character {message}"


@given(st.text(max_size=40), st.integers(0, 40), st.integers(0, 40))
def test_any_place_in_any_text_can_be_shown(text: str, start: int, length: int) -> None:
    start = min(start, len(text))
    source = Source("<arg>", text)
    diagnostic = Diagnostic(
        "E101", "message", source, Span(start, start + length), "label", ("help",)
    )
    line, column = source.place(start)
    record = diagnostic.as_dict()
    assert f"--> <arg>:{line}:{column}" in diagnostic.render()
    assert (record["line"], record["column"]) == (line, column) and record["end_column"] > column


@given(st.integers(0, 999), st.integers(1, 1000))
def test_a_long_line_is_cut_around_the_caret(start: int, length: int) -> None:
    text = "".join(chr(0x3B1 + i % 20) for i in range(1000))
    rendered = Diagnostic(
        "E101", "message", Source("<arg>", text), Span(start, start + length)
    ).render()
    shown, carets = rendered.split("\n")[3:5]
    assert len(shown) <= 4 + 120 + 6 and len(carets.rstrip()) <= len(shown)
    assert shown[carets.index("^")] == text[start]


def test_the_exit_status_is_that_of_the_worst_error() -> None:
    assert EmqError(Diagnostic("E101", "a"), Diagnostic("E301", "b")).exit_status == 3
    assert (
        error("E301", "gone", "look", path="here").diagnostics[0].render()
        == "error[E301]: gone\n --> here\nhelp: look"
    )


def test_nearest() -> None:
    assert nearest("grad_synflw", ("grad", "grad_synflow")) == ("did you mean 'grad_synflow'?",)
    assert nearest("zzz", ("grad", "grad_synflow")) == ()


def test_an_error_travels_between_processes() -> None:
    failure = error("E316", "it is another", "begin anew", path="here")
    assert pickle.loads(pickle.dumps(failure)).diagnostics == tuple(failure.diagnostics)


def test_nothing_in_a_diagnostic_steers_a_terminal() -> None:
    odd = "a\x1b[31m\x07\r\u202e\ud800"
    failure = error("E301", odd, odd, path=odd).diagnostics[0]
    placed = Diagnostic("E101", odd, Source(odd, odd), Span(0, 1))
    for rendered in (failure.render(), placed.render()):
        assert all(c.isprintable() or c == "\n" for c in rendered)
        rendered.encode()
