"""Menus: read, said again, refused, and cut into widths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.bits.menu import (
    LARGEST,
    Choice,
    act_widths,
    parse_bits,
    parse_menu,
    weight_widths,
)

bits = st.integers(1, LARGEST)
pairs = st.lists(st.builds(Choice, bits, bits), min_size=1, unique=True)


@given(st.lists(bits, min_size=1, unique=True), st.sampled_from([",", " , ", ",\t"]))
def test_weight_bits_are_read_in_their_order(widths: list[int], comma: str) -> None:
    menu = parse_bits(comma.join(map(str, widths)))
    assert menu == tuple(map(Choice, widths)) and [str(choice) for choice in menu] == [
        f"W{width}" for width in widths
    ]
    assert weight_widths(menu) == tuple(widths) and act_widths(menu) == (None,)


@given(pairs)
def test_pairs_are_read_as_they_are_said(menu: list[Choice]) -> None:
    assert parse_menu(",".join(map(str, menu))) == tuple(menu)


@given(pairs)
def test_widths_are_distinct_and_in_order_of_appearance(menu: list[Choice]) -> None:
    for widths, of in (
        (weight_widths(menu), lambda c: c.weight_bits),
        (act_widths(menu), lambda c: c.act_bits),
    ):
        assert list(widths) == sorted(
            {of(choice) for choice in menu}, key=[of(choice) for choice in menu].index
        )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is not an entry"),
        ("2,", "'' is not an entry"),
        ("2,2", "'2' appears twice in the menu"),
        ("2,02", "twice"),
        ("0", "'0' is out of range"),
        ("17", "out of range"),
        ("999", "out of range"),
        ("1000", "not an entry"),
        ("x", "not an entry"),
        ("2;3", "'2;3' is not an entry"),
        ("2.5", "not an entry"),
        ("W2", "not an entry"),
        ("-2", "not an entry"),
        ("٣", "not an entry"),
        ("2\n\n3", "not an entry"),
    ],
)
def test_weight_bits_that_are_none(text: str, message: str) -> None:
    with pytest.raises(EmqError) as refused:
        parse_bits(text)
    assert (
        refused.value.diagnostics[0].code == "E401"
        and message in refused.value.diagnostics[0].message
    )


@pytest.mark.parametrize(
    "text", ["", "2,4", "W2A0", "W17A2", "W2A17", "W2A8,W2A8", "W2", "A8", "w2a8", "W2A8,"]
)
def test_pairs_that_are_none(text: str) -> None:
    with pytest.raises(EmqError) as refused:
        parse_menu(text)
    assert refused.value.diagnostics[0].code == "E401" and refused.value.exit_status == 2


@given(st.text(max_size=12))
def test_any_text_is_a_menu_or_refused(text: str) -> None:
    for parse in (parse_bits, parse_menu):
        try:
            menu = parse(text)
        except EmqError as refused:
            assert refused.diagnostics[0].code == "E401"
        else:
            assert menu and all(1 <= choice.weight_bits <= LARGEST for choice in menu)
