"""Texts become trees: precedence, spans, limits in their order, and never anything but EmqError."""

from __future__ import annotations

import time
from importlib.resources import files

import pytest
from hypothesis import given, settings
from strategies import exprs, texts

from emqlang.grammar import parse, show
from emqlang.grammar.diagnostics import EmqError, Source
from emqlang.grammar.expr import Expr
from emqlang.grammar.text.syntax import (
    MAX_EXPRESSION_BYTES,
    MAX_NESTING,
    Form,
    Node,
    Passage,
    parts,
    read_expression,
)
from emqlang.grammar.text.tokens import open_bracket, tokens, too_deep


def tree(text: str) -> Node:
    return read_expression(Passage(Source("<arg>", text), text))


def nested(node: Node) -> str:
    """The tree with all its parentheses."""
    operands = [nested(operand) for operand in node.operands]
    return {
        Form.NUMBER: node.text,
        Form.NAME: node.text,
        Form.CALL: f"{node.text}[{','.join(operands)}]",
        Form.MINUS: f"(-{''.join(operands)})",
        Form.INFIX: f"({node.text.join(operands)})",
    }[node.form]


def code(text: str) -> str:
    with pytest.raises(EmqError) as caught:
        parse(text)
    return caught.value.diagnostics[0].code


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a + b * c", "(a+(b*c))"),
        ("a - b - c", "((a-b)-c)"),
        ("a / b * c @ d", "(((a/b)*c)@d)"),
        ("a ** b ** c", "(a**(b**c))"),
        ("-a ** 2", "(-(a**2))"),
        ("-2 ** 2", "(-(2**2))"),
        ("(-2) ** 2", "(-2**2)"),
        ("a ** -2", "(a**-2)"),
        ("a ** -b ** c", "(a**(-(b**c)))"),
        ("-2", "-2"),
        ("-(2)", "(-2)"),
        ("--2", "(--2)"),
        ("---a", "(-(-(-a)))"),
        ("-a * b", "((-a)*b)"),
        ("a * -b", "(a*(-b))"),
        ("a - -1", "(a--1)"),
        ("(a + b) * c", "((a+b)*c)"),
        ("f(a)", "f[a]"),
        ("f(a, b + c)", "f[a,(b+c)]"),
        ("f()", "f[]"),
        ("f (a)", "f[a]"),
        ("1.5e-3 + .5 + 2. + 1E6", "(((1.5e-3+.5)+2.)+1E6)"),
        ("a # comment (\n + b", "(a+b)"),
    ],
)
def test_precedence(text: str, expected: str) -> None:
    assert nested(tree(text)) == expected


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        ("log(w) + 1", {"log(w)": "log", "w": "w", "log(w) + 1": "+", "1": "1"}),
        (
            "( w+ (2) )*x2",
            {"( w+ (2) )*x2": "*", "( w+ (2) )": "+", "w": "w", "(2)": "2", "x2": "x2"},
        ),
        (" -w ** - 2 ", {"-w ** - 2": "-", "w ** - 2": "**", "w": "w", "- 2": "- 2"}),
    ],
)
def test_spans_cover_each_part_and_marks_its_sign(text: str, marks: dict[str, str]) -> None:
    assert marks == {
        text[n.span.start : n.span.end]: text[n.mark.start : n.mark.end] for n in parts(tree(text))
    }


@given(exprs())
def test_spans_nest_and_a_part_reads_as_itself(expr: Expr) -> None:
    text = show(expr)
    for node in parts(tree(text)):
        assert all(
            node.span.start <= o.span.start and o.span.end <= node.span.end for o in node.operands
        )
        part = tree(text[node.span.start : node.span.end])
        assert (part.form, part.text, len(part.operands)) == (
            node.form,
            node.text,
            len(node.operands),
        )


@given(texts)
@settings(max_examples=400)
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    try:
        parse(text)
    except EmqError as problem:
        assert 1 <= len(problem.diagnostics) <= 5 and problem.exit_status == 1
        for diagnostic in problem.diagnostics:
            assert diagnostic.span is not None and 0 <= diagnostic.span.start <= len(text)
            assert str(diagnostic.render())


def test_the_grammar_is_short() -> None:
    assert (
        len(files("emqlang.grammar").joinpath("emq.lark").read_text(encoding="utf-8").splitlines())
        <= 40
    )


@pytest.mark.parametrize(
    "text",
    [
        "(" * MAX_NESTING + "w" + ")" * MAX_NESTING,
        "abs(" * MAX_NESTING + "w" + ")" * MAX_NESTING,
        "-" * MAX_NESTING + "w",
        "w" + " ** 1" * MAX_NESTING,
        "(-" * (MAX_NESTING // 2) + "w" + ")" * (MAX_NESTING // 2),
    ],
)
def test_nesting_up_to_the_limit_and_no_further(text: str) -> None:
    assert too_deep(text, MAX_NESTING) is None
    assert too_deep(text, MAX_NESTING - 1) is not None
    assert code("(" + text + ")") == "E105"


@pytest.mark.parametrize(
    "text",
    [
        "w" + " + w" * 3_000,
        "w" + " - w" * 3_000,
        "w" + " * -w" * 3_000,
        "(w) + " * 3_000 + "w",
        "1" + " + w ** -2" * 999,
    ],
)
def test_a_long_sum_is_not_deep(text: str) -> None:
    assert show(parse(text).expr) == text.replace("(w)", "w")


def test_limits_are_checked_in_their_order_and_fast() -> None:
    started = time.perf_counter()
    assert code("(" * (MAX_EXPRESSION_BYTES + 1)) == "E104"
    assert code("(" * MAX_EXPRESSION_BYTES) == "E105"
    assert code("é" * (MAX_EXPRESSION_BYTES // 2 + 1)) == "E104"  # bytes, not characters
    assert code(")" * MAX_EXPRESSION_BYTES) == "E101"
    assert code("w " * (MAX_EXPRESSION_BYTES // 2)) == "E101"
    assert time.perf_counter() - started < 5


def test_open_brackets() -> None:
    assert open_bracket("f(a, (b) # (\n + (c") == 16
    assert open_bracket("f(a))") is None


def test_tokens_are_those_of_the_grammar() -> None:
    text = "-1.5e-3*w**2 # note\n@ _x2"
    assert [token for token, _ in tokens(text)] == [
        "-",
        "1.5e-3",
        "*",
        "w",
        "**",
        "2",
        "# note",
        "@",
        "_x2",
    ]
    assert all(text.startswith(token, offset) for token, offset in tokens(text))
