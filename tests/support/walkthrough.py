"""Documents that are followed step by step: what they run, and what they say comes of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isclose
from pathlib import Path

# a number, with what follows it where that is a time or memory: these are other ones each time
NUMBER = re.compile(r"-?(?:\d[\d,]*\.?\d*|\.\d+)(?:e[+-]\d+)?( (?:ms|s|min|GiB)\b)?")
FILE = re.compile(r"# ([\w.-]+\.\w+)")


@dataclass(frozen=True)
class Step:
    """A command, code or file of a document, and the output that is shown below it."""

    kind: str  # console, python or file
    text: str  # the command without `emqlang`, the code, what the file holds
    shown: tuple[str, ...] = ()
    name: str = ""  # of the file

    def agrees(self, printed: str) -> bool:
        return agrees(self.shown, printed.splitlines())


def steps(page: Path) -> Iterator[Step]:
    """The steps in order: `console` blocks, `python` with the `text` below, and files.

    A file is a block whose first line is its name in a comment.
    """
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(), re.M | re.S)
    below = [*blocks[1:], ("", "")]
    for (kind, text), (after, output) in zip(blocks, below, strict=True):
        if kind == "console":
            for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
                command, *shown = part.rstrip("\n").split("\n")
                words = command.partition("  #")[0].strip()
                yield Step("console", words.removeprefix("emqlang "), tuple(shown))
        elif kind == "python":
            shown = output.splitlines() if after == "text" else []
            yield Step("python", text, tuple(shown))
        elif found := FILE.match(text):
            yield Step("file", text, name=found[1])


def agrees(shown: Sequence[str], printed: Sequence[str]) -> bool:
    """Whether lines are those shown, but for the last digits of numbers; `...` is any lines."""
    shown, printed = ([line for line in lines if line.strip()] for lines in (shown, printed))
    if not shown:
        return True
    if shown[0] == "...":
        rest = shown[1:]
        return not rest or any(agrees(rest, printed[start:]) for start in range(len(printed)))
    if not printed or not alike(shown[0], printed[0]):
        return False
    return agrees(shown[1:], printed[1:]) if shown[1:] else len(printed) == 1


def alike(shown: str, printed: str) -> bool:
    """The same words, and numbers as they may differ between two machines."""
    if _words(shown) != _words(printed):
        return False
    pairs = zip(NUMBER.finditer(shown), NUMBER.finditer(printed), strict=True)
    return all(one[1] or _near(one[0], other[0]) for one, other in pairs)


def _words(line: str) -> str:
    return " ".join(re.sub("─+", "─", NUMBER.sub(r"0\1", line)).split())


def _near(one: str, other: str) -> bool:
    first, second = (float(text.replace(",", "")) for text in (one, other))
    return isclose(first, second, rel_tol=0.03, abs_tol=0.02 if "." in one else 0)
