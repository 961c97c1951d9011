"""Every example of every help, of the README and of the documents runs as it stands."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import pytest
from command_line import COMMANDS, GROUPS, command_of
from commands import Emq
from places import ROOT

from emqlang.cli import uses
from emqlang.cli.options import pick
from emqlang.cli.words import Expression
from emqlang.grammar import library
from emqlang.grammar.diagnostics import EmqError
from emqlang.tasks.assign import Chooser
from emqlang.tasks.problem import Constraints
from emqlang.tasks.workbench import WorkbenchOptions

PAGES = ("README.md", "docs/cli.md", "docs/language.md", "docs/search.md", "docs/tables.md")
FILE = "syn = sum(abs(w * grad_synflow))\nbest = mean(abs(w))\n"
HELD = ("proxies.emq", "mine.emq", "found.emq")  # what examples of reading read
SHOWN = re.compile(r"^(?:\$ |    (?:\$ )?|)(emqlang [^`|]*|echo [^`]*emqlang[^`]*)$")
# commands that take no time, and change nothing outside of the folder they run in
QUICK = {"check", "equiv", "explain", "fmt", "grammar", "models", "ops", "show", "simplify"}


def lines_of(page: str) -> Iterator[str]:
    """The command lines of a document: indented ones, and those of blocks, without comments."""
    fenced = False
    for line in (ROOT / page).read_text().splitlines():
        if line.startswith("```"):
            fenced = not fenced
        shown = SHOWN.match(line)
        if shown and (line.startswith("    ") or fenced):
            yield shown[1].partition("  #")[0].strip()


EXAMPLES = sorted(
    {line for name in COMMANDS for line in command_of(name).examples}
    | {line for page in PAGES for line in lines_of(page)}
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in HELD:
        (tmp_path / name).write_text(FILE)
    (tmp_path / "mine.table").touch()
    monkeypatch.chdir(tmp_path)


def words_of(line: str) -> tuple[str, list[str]]:
    """The command's name and its words, without redirections."""
    lexer = shlex.shlex(line[line.index("emqlang") :], posix=True, punctuation_chars="<>")
    lexer.whitespace_split = True
    words = list(takewhile(lambda word: word not in "<>", lexer))[1:]
    name = " ".join(words[:2]) if words[0] in GROUPS else words[0]
    return name, words[len(name.split()) :]


def test_there_are_examples() -> None:
    pages = {page: len(list(lines_of(page))) for page in PAGES}
    assert len(EXAMPLES) > 100 and pages["README.md"] >= 20 and pages["docs/cli.md"] >= 25, pages


@pytest.mark.parametrize("line", EXAMPLES)
def test_an_example_is_a_command_that_is_understood(line: str, here: None) -> None:
    assert "..." not in line
    shell = subprocess.run(["bash", "-n", "-c", line], capture_output=True, text=True, check=False)
    assert shell.returncode == 0, shell.stderr
    if line.startswith("eval "):  # of a shell's completion
        return
    name, words = words_of(line)
    command = command_of(name)
    if "--help" in words:
        return
    with command.make_context(f"emqlang {name}", words) as context:
        try:
            uses.check(context)
        except EmqError as refused:
            assert {each.code for each in refused.diagnostics} == {"E301"}, refused
        for param in command.params:
            if isinstance(param.type, Expression) and name not in ("check", "why"):
                value = context.params[param.name or ""]
                given = value if isinstance(value, tuple) else (value,)
                for word in filter(None, given):
                    assert word == "-" or library.find(word), word
        if name in ("assign", "quantize") and context.params["model"] == "resnet18-fmnist":
            feasible(context.params)


def feasible(options: dict[str, object]) -> None:
    """Whether the budgets can be met; nothing is measured."""
    picked = pick(WorkbenchOptions, options), pick(Constraints, options)
    assert Chooser(*picked, lambda *_: None).problem


@pytest.mark.parametrize(
    "line", [line for line in EXAMPLES if line.split()[1] in QUICK and "completion" not in line]
)
def test_a_quick_example_runs(emq: Emq, line: str, here: None) -> None:
    name, words = words_of(line)
    result = emq(name, *words, stdin=FILE)
    assert result.status in (0, 1) and "error" not in result.err, result.err
