"""Ties by patterns."""

from __future__ import annotations

import pytest

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.bits.patterns import fixed, tied

NAMES = [f"blk.{i}.{part}" for i in range(2) for part in ("attn_q", "attn_k", "ffn_up", "ffn_gate")]


def test_names_with_the_same_text_in_braces_are_tied() -> None:
    assert tied(NAMES, "blk.{}.attn_[qk]") == ((0, 1), (2,), (3,), (4, 5), (6,), (7,))
    forms = "blk.{}.ffn_up|blk.{}.ffn_gate, blk.{}.attn_?"
    assert tied(NAMES, forms) == ((0, 1), (2, 3), (4, 5), (6, 7))


def test_without_braces_all_that_match_are_tied_and_ties_that_meet_are_one() -> None:
    assert tied(NAMES, "*ffn*") == ((0,), (1,), (2, 3, 6, 7), (4,), (5,))
    assert tied(NAMES, "blk.0.*,*.attn_q") == ((0, 1, 2, 3, 4), (5,), (6,), (7,))
    assert tied(NAMES, "") == tuple((i,) for i in range(8))


def test_braces_stand_for_some_text_and_dots_for_dots() -> None:
    assert tied(["a1b", "a1c", "ab", "axb"], "a{}b|a{}c")[0] == (0, 1)
    with pytest.raises(EmqError, match="matches no layer"):
        tied(["axb", "ayb"], "a.b")


def test_a_tied_group_is_fixed_by_any_of_its_layers() -> None:
    groups = tied(NAMES, "blk.{}.attn_[qk]")
    assert fixed(NAMES, groups, "*.1.attn_k=8", lambda group, word: word, "a=8") == {3: "8"}
