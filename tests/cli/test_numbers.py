"""Numbers on the command line: ASCII digits, from their least on, and no more than there can be."""

from __future__ import annotations

import click
import pytest

from emqlang.cli.numbers import POSITIVE, SEED, Duration, Whole

THREE = "\N{ARABIC-INDIC DIGIT THREE}"


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (POSITIVE, "0", "0 is not in the range x>=1."),
        (POSITIVE, "99999999999", "99999999999 is too many: at most 1000000000"),
        (POSITIVE, THREE, f"'{THREE}' is not a whole number"),
        (SEED, "-1", "-1 is not in the range x>=0."),
        (SEED, str(2**63), f"{2**63} is too many: at most {2**63 - 1}"),
        (Duration(), f"{THREE}s", f"'{THREE}s' is not a duration; write 90s, 5m or 2h"),
    ],
)
def test_what_is_no_such_number_is_refused(kind: click.ParamType, text: str, message: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        kind.convert(text, None, None)
    assert caught.value.message == message


def test_numbers_are_read() -> None:
    assert (POSITIVE.convert("64", None, None), SEED.convert("0", None, None)) == (64, 0)
    assert isinstance(POSITIVE, Whole)
