"""What the tutorial and the page on the architecture run, runs, and prints what they say."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from commands import Emq
from places import README, ROOT
from walkthrough import Step, agrees, steps

TUTORIAL = ROOT / "docs" / "tutorial.md"
# What a search finds may turn on the last bit of a score: of it the lines without numbers count.
SEARCHED = {"evolve", "front", "found.emq"}


@pytest.mark.slow
@pytest.mark.parametrize("page", ["tutorial", "architecture"])
def test_a_page_does_what_it_says(
    page: str,
    emq: Emq,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = ROOT / "docs" / f"{page}.md"
    assert len(list(steps(path))) > 10
    follow(path, emq, tmp_path, monkeypatch, capsys)


def follow(
    page: Path,
    emq: Emq,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Do what a page says, in a folder, on a terminal of 100 columns."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "100")
    names: dict[str, Any] = {}
    for step in steps(page):
        if step.kind == "file":
            Path(step.name).write_text(step.text)
        elif step.kind == "python":
            exec(compile(step.text, page.name, "exec"), names)
            printed = capsys.readouterr().out
            assert step.agrees(printed), f"{step.text}\n{printed}"
        else:
            run(step, emq)


def run(step: Step, emq: Emq) -> None:
    words = shlex.split(step.text)
    result = emq(*words)
    fails = any("error[" in line for line in step.shown)
    assert bool(result.status) == fails, result.err
    if SEARCHED & set(words):
        shown = [line for line in step.shown if not any(map(str.isdigit, line))]
        printed = [line for line in result.out.splitlines() if not any(map(str.isdigit, line))]
        headings = [line for line in shown if line.startswith(("program ", "proposals "))]
        assert set(headings) <= set(printed), result.out
    else:
        printed = result.err if fails else result.out
        assert step.agrees(printed), f"{step.text}\n{printed}"


def test_the_five_minutes_of_the_readme_are_steps_of_the_tutorial() -> None:
    part = README.read_text().partition("## Five minutes\n")[2].partition("\n## ")[0]
    tutorial = [step for step in steps(TUTORIAL) if step.kind == "console"]
    commands = [
        line[10:].partition("  #")[0].strip()
        for line in part.splitlines()
        if line.startswith("$ emqlang ")
    ]
    assert len(commands) >= 4
    assert not [command for command in commands if command not in {s.text for s in tutorial}]


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("accuracy  93.00%", "accuracy   93.01%", True),
        ("accuracy  93.00%", "accuracy   83.01%", False),
        ("score -0.07, 623.7 ms", "score -0.0701, 2 ms", True),
        ("W4  144", "W3  144", False),
        ("...\nb 2\n...", "a\nb 2\nc", True),
        ("...\nb 2", "a\nb 2\nc", False),
        ("a", "", False),
        ("-1.3880e-01", "-1.3881e-01", True),
        ("-1.3880e-01", "-1.3880e+01", False),
    ],
)
def test_output_is_compared_loosely(shown: str, printed: str, same: bool) -> None:
    assert agrees(shown.split("\n"), printed.split("\n")) is same
