"""What a proxy's entry says it was made for."""

from __future__ import annotations

import pytest

from emqlang.grammar import LIBRARY, fmt, load_text
from emqlang.grammar.diagnostics import EmqError
from emqlang.grammar.domain import ROUNDINGS, UNSAID, Domain
from emqlang.quant.ptq import recipe

ENTRY = """\
## Found somewhere.
#: menu 2, 3,4
#: images 256
#: draws 4
## Of two tables.
#: rounding nearest
#: tables a-b, c_d:all
found = bits
plain = numel
"""


def test_an_entry_says_what_its_proxy_was_made_for() -> None:
    file = load_text(ENTRY)
    found = file["found"]
    assert found.domain == Domain("2,3,4", 256, 4, "nearest", ("a-b", "c_d:all"))
    assert found.description == "Found somewhere. Of two tables." and found.domain
    assert file["plain"].domain == UNSAID and not file["plain"].domain
    assert fmt(ENTRY) == ENTRY
    again = load_text("\n".join([*found.domain.lines, "found = bits"]))
    assert again["found"].domain == found.domain


def test_a_blank_line_ends_an_entry() -> None:
    assert load_text("#: images 256\n\nfound = bits")["found"].domain == UNSAID


def test_what_has_been_seen() -> None:
    domain = Domain(tables=("a", "b:all"))
    assert domain.has_seen("a", "all") and domain.has_seen("a", "search")
    assert not domain.has_seen("a", "heldout") and not domain.has_seen("c", "all")
    assert domain.has_seen("b", "heldout") and domain.has_seen("b", "search")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("#: image 256", "has no 'image'"),
        ("#:", "has no ''"),
        ("#: images many", "'many' is not what follows 'images'"),
        ("#: images 0", "'0' is not"),
        ("#: images ٣", "is not what follows 'images'"),
        ("#: menu 2;3", "is not what follows 'menu'"),
        ("#: menu 2,W4A8", "is not what follows 'menu'"),
        ("#: rounding up", "is not what follows 'rounding'"),
        ("#: tables a b", "is not what follows 'tables'"),
        ("#: tables a:most", "is not what follows 'tables'"),
        ("#: images 1\n#: images 2", "'images' appears twice"),
    ],
)
def test_a_line_that_says_nothing_is_refused(line: str, says: str) -> None:
    with pytest.raises(EmqError) as caught:
        load_text(f"## One.\n{line}\nfound = bits")
    (problem,) = caught.value.diagnostics
    assert problem.code == "E101" and says in problem.message and problem.help
    assert (
        problem.as_dict()["line"] == 1 + len(line.split("\n")) and problem.as_dict()["column"] == 1
    )


def test_words_of_quantization_are_those_of_recipes() -> None:
    assert ROUNDINGS == recipe.ROUNDINGS


def test_what_was_searched_says_so() -> None:
    for name in LIBRARY:
        domain = LIBRARY[name].domain
        assert bool(domain) == (LIBRARY.shelf(name) in ("evolved", "across_layers"))
        assert bool(domain.tables) == (LIBRARY.shelf(name) == "evolved")
        assert not domain or (domain.images and domain.rounding)
        assert not domain.tables or domain.menu
