"""What a proxy was made for, as the lines above it in a `.emq` file say.

    #: menu 2,3,4
    #: images 256
    #: draws 4
    #: rounding nearest
    #: tables resnet18-fmnist-all, vgg-fmnist-all

Each may be left out. A table's search rows have been seen; `NAME:all` says that all of them have.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from emqlang.grammar.diagnostics import Diagnostic, Passage, Source, Span, nearest

MARK: Final = ":"  # after the '#'
ROUNDINGS: Final = ("nearest", "adaround", "brecq")
_BITS, _PAIR = r"[0-9]{1,2}", r"W[0-9]{1,2}A[0-9]{1,2}"
_NAME = r"[^\s,:]+(:all)?"
# word -> the form of its value, and what that is
FORMS: Final = {
    "menu": (
        rf"{_BITS}(,\s*{_BITS})*|{_PAIR}(,\s*{_PAIR})*",
        "weight bits or pairs, as 2,3,4 or W2A8,W4A8",
    ),
    "images": (r"[1-9][0-9]{0,8}", "a number of images, as 256"),
    "draws": (r"[1-9][0-9]{0,5}", "a number of labels drawn for each image, as 4"),
    "rounding": ("|".join(ROUNDINGS), f"one of {', '.join(ROUNDINGS)}"),
    "tables": (rf"{_NAME}(,\s*{_NAME})*", "names of tables, as my_table, other_table:all"),
}


@dataclass(frozen=True)
class Domain:
    """What a proxy was searched on or designed for; empty where that is not said.

    menu      '2,3,4', or pairs
    images    that statistics were taken on; 0 where not said
    draws     labels drawn for each of them; 0 where not said
    rounding  of the tables
    tables    names of those whose search rows it has seen; 'NAME:all' for all rows
    """

    menu: str = ""
    images: int = 0
    draws: int = 0
    rounding: str = ""
    tables: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self != UNSAID

    @property
    def lines(self) -> list[str]:
        """As a file has them."""
        counts = [str(count or "") for count in (self.images, self.draws)]
        values = (self.menu, *counts, self.rounding, ", ".join(self.tables))
        pairs = zip(FORMS, values, strict=True)
        return [f"#{MARK} {word} {value}" for word, value in pairs if value]

    def has_seen(self, table: str, split: str) -> bool:
        """Whether some of the table's rows of this split were searched on."""
        return f"{table}:all" in self.tables or (table in self.tables and split != "heldout")


UNSAID: Final = Domain()


def read_domain(
    lines: Sequence[tuple[int, str]], source: Source
) -> tuple[Domain, list[Diagnostic]]:
    """What lines say, each with its offset in the source; and E101 for those that say nothing."""
    values: dict[str, str] = {}
    mistakes: list[Diagnostic] = []
    for offset, line in lines:
        said = line[line.index(MARK) + 1 :].strip()
        word, _, value = said.partition(" ")
        problem = _problem(word, value.strip(), values)
        if problem is None:
            values[word] = value.strip()
            continue
        message, *help = problem
        passage = Passage(source, line, offset)
        span = Span(len(line) - len(line.lstrip()), len(line.rstrip()))
        mistakes.append(passage.diagnostic("E101", message, span, help=tuple(help)))
    names = tuple(re.split(r",\s*", values["tables"])) if "tables" in values else ()
    menu = re.sub(r"\s", "", values.get("menu", ""))
    images, draws = (int(values.get(word, 0)) for word in ("images", "draws"))
    return Domain(menu, images, draws, values.get("rounding", ""), names), mistakes


def _problem(word: str, value: str, values: dict[str, str]) -> tuple[str, ...] | None:
    """What is wrong with a line, and help; None if nothing is."""
    if word not in FORMS:
        known = f"'#{MARK}' is followed by one of {', '.join(FORMS)}"
        return f"a proxy's entry has no '{word}'", *nearest(word, FORMS), known
    if word in values:
        return f"'{word}' appears twice", "leave one of them out"
    form, meaning = FORMS[word]
    if not re.fullmatch(form, value):
        return f"'{value}' is not what follows '{word}'", f"write {meaning}"
    return None
