"""`.emq` files: bindings, descriptions, limits, and the standard layout."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import ROOT
from strategies import exprs, texts

from emqlang.grammar import fmt, load_file, load_text, parse, show
from emqlang.grammar.diagnostics import EmqError
from emqlang.grammar.expr import Expr
from emqlang.grammar.files import MAX_FILE_BYTES, statements

TEXT = """\
# Not a description.

## The mean
## magnitude.
_size = mean(abs(w))  # private

## About nothing.

## Two lines
# between them a comment
emq = log(abs(grad_synflow)) * (
    sqrt(_size)  # (
)
twice=2*emq
"""


def codes(text: str | bytes, path: Path | None = None) -> list[str]:
    with pytest.raises(EmqError) as caught:
        if path:
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
            load_file(path)
        else:
            load_text(str(text))
    return [diagnostic.code for diagnostic in caught.value.diagnostics]


def test_bindings() -> None:
    file = load_text(TEXT, "proxies.emq")
    assert [(p.name, p.text, p.description) for p in file.bindings] == [
        ("_size", "mean(abs(w))", "The mean magnitude."),
        ("emq", "log(abs(grad_synflow)) * (\n    sqrt(_size)  # (\n)", "Two lines"),
        ("twice", "2*emq", ""),
    ]
    assert list(file.proxies) == ["emq", "twice"]
    assert show(file["emq"].expr) == "log(abs(grad_synflow)) * sqrt(mean(abs(w)))"
    assert (
        show(file["twice"].elaborated)
        == "bits * mean(2 * (log(abs(grad_synflow)) * sqrt(mean(abs(w)))))"
    )


def test_a_name_that_is_not_there() -> None:
    file = load_text(TEXT, "proxies.emq")
    for name, message in [("emk", "not bound"), ("_size", "private")]:
        with pytest.raises(EmqError) as caught:
            file[name]
        assert caught.value.diagnostics[0].code == "E102" and message in str(caught.value)


def test_an_empty_file_binds_nothing() -> None:
    assert (
        load_text("").bindings
        == load_text("\n# only a comment\n## and a description").bindings
        == ()
    )


def test_files_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "a.emq"
    path.write_bytes(
        b"\xef\xbb\xbf" + "## größe\r\na = w\r\n".encode()
    )  # with a byte order mark, as Windows writes it
    assert load_file(path)["a"].description == "größe"
    assert codes(b"a = w\n# \xff\n", path) == ["E111"]
    assert codes(b"#" * (MAX_FILE_BYTES + 1), path) == ["E104"]
    for missing in (tmp_path / "none.emq", tmp_path):
        with pytest.raises(EmqError) as caught:
            load_file(missing)
        assert caught.value.diagnostics[0].code == "E301" and caught.value.exit_status == 3


def test_the_bad_byte_is_placed(tmp_path: Path) -> None:
    (tmp_path / "a.emq").write_bytes(b"a = w\nb \xff\n")
    with pytest.raises(EmqError) as caught:
        load_file(tmp_path / "a.emq")
    assert caught.value.diagnostics[0].path.endswith("a.emq:2:3")


def test_one_line_may_be_as_long_as_an_expression() -> None:
    assert codes("a = w\nb = " + "-" * 70_000 + "w\n") == ["E104"]


def test_names_that_grow_are_refused_at_once() -> None:
    started = time.perf_counter()
    assert codes("a0 = w\n" + "".join(f"a{i + 1} = a{i} * a{i}\n" for i in range(60))) == ["E106"]
    assert (
        codes("".join(f"a{i} = a{i + 1}\n" for i in range(2_000)) + "a2000 = a0\n") == ["E109"] * 5
    )
    assert codes("a = w\n" * 3_000) == ["E107"] * 5
    assert codes("a = (\n" * 3_000) == ["E101"] * 5
    assert time.perf_counter() - started < 10


@given(st.lists(texts, max_size=6).map("\n".join) | st.text(max_size=80))
@settings(max_examples=300)
def test_any_text_is_read_or_refused_and_laid_out_only_if_read(text: str) -> None:
    try:
        file = load_text(text)
    except EmqError as problem:
        assert 1 <= len(problem.diagnostics) <= 5
        assert all(
            diagnostic.span and diagnostic.span.start <= len(text)
            for diagnostic in problem.diagnostics
        )
        with pytest.raises(EmqError):
            fmt(text)
    else:
        assert_same(text, fmt(text))
        assert len(file.bindings) == len(list(statements(text)))


def assert_same(text: str, laid: str) -> None:
    """The layout changes nothing that counts, and is its own layout."""
    before, after = load_text(text).bindings, load_text(laid).bindings
    assert [(p.name, p.expr, p.description) for p in before] == [
        (p.name, p.expr, p.description) for p in after
    ]
    assert fmt(laid) == laid


@given(st.lists(exprs(max_ops=5), max_size=3), st.sampled_from(["", " ", "  ", "\t"]), st.data())
def test_layout_of_any_spacing(programs: list[Expr], gap: str, data: st.DataObject) -> None:
    standard = "".join(f"a{i} = {show(expr)}\n" for i, expr in enumerate(programs))
    spaced = standard.replace(" ", gap).replace("(", gap + "(" + gap).replace("=", gap + "=" + gap)
    assert fmt(spaced) == standard


@pytest.mark.parametrize(
    ("text", "laid"),
    [
        ("a=w", "a = w\n"),
        ("\n\na = w\n\n\n\nb = -w\n\n", "a = w\n\nb = -w\n"),
        ("a = ( w*- 2+\n - - w ,)".replace(",", ""), "a = (w * -2 +\n    --w)\n"),
        ("a = mean (\nw\n  )", "a = mean(\n    w\n)\n"),
        ("a = w#note \n   #  kept  as it is\t\n", "a = w  #note\n#  kept  as it is\n"),
        ("a = w**-2@w".replace("@w", ""), "a = w ** -2\n"),
        ("a = (w)-(-w)", "a = (w) - (-w)\n"),
        ("a = mean(w # (\n# )\n)", "a = mean(w  # (\n    # )\n)\n"),
        ("a = w\r\n\r\n\r\nb = w\r\n", "a = w\n\nb = w\n"),
        ("", ""),
        ("\n\n", ""),
    ],
)
def test_layout(text: str, laid: str) -> None:
    assert fmt(text) == laid
    assert_same(text, laid)


def test_reading_a_file_imports_nothing_heavy(tmp_path: Path) -> None:
    path = tmp_path / "a.emq"
    path.write_text("a = mean(abs(w))\n")
    script = (
        "import sys; from emqlang.grammar import load_file, fmt;"
        "load_file(sys.argv[1]); fmt('a = w');"
        "print(*{'torch', 'numpy', 'scipy', 'sympy', 'networkx', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


def test_the_guide_is_right() -> None:
    guide = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```emq\n(.*?)```", guide, re.DOTALL)
    assert fmt(block) == block and list(load_text(block).proxies) == ["emq", "penalised"]
    for text in re.findall(r"```text\n(.*?)```", guide, re.DOTALL):
        source = text.split("\n")[3].split("| ")[1]
        try:
            shown = "\n".join(warning.render() for warning in parse(source).warnings)
        except EmqError as problem:
            shown = str(problem)
        assert shown + "\n" == text
