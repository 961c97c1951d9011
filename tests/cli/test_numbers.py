"""Numbers on the command line: ASCII digits, from their least on, and no more than there can be."""

from __future__ import annotations

import json

import click
import pytest
from commands import Emq

from emqlang.cli.numbers import ACT_BITS, POSITIVE, SECONDS, SEED, Duration, Share, Whole

THREE = "\N{ARABIC-INDIC DIGIT THREE}"


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (POSITIVE, "0", "0 is not in the range x>=1."),
        (POSITIVE, "99999999999", "99999999999 is too many: at most 1000000000"),
        (POSITIVE, THREE, f"'{THREE}' is not a whole number"),
        (POSITIVE, "1_000", "'1_000' is not a whole number"),
        (POSITIVE, "1e3", "'1e3' is not a whole number"),
        (POSITIVE, "", "'' is not a whole number"),
        (POSITIVE, "9" * 5000, f"{'9' * 5000} is too many: at most 1000000000"),
        (ACT_BITS, THREE, f"'{THREE}' is not a whole number"),
        (ACT_BITS, "1", "1 is not in the range x>=2."),
        (ACT_BITS, "9", "9 is too many: at most 8"),
        (SECONDS, "nan", "'nan' is not a number above 0 and up to 1e+09"),
        (SECONDS, "inf", "'inf' is not a number above 0 and up to 1e+09"),
        (SECONDS, "1e30", "'1e30' is not a number above 0 and up to 1e+09"),
        (SECONDS, THREE, f"'{THREE}' is not a number above 0 and up to 1e+09"),
        (SECONDS, "0", "'0' is not a number above 0 and up to 1e+09"),
        (Share(), f"{THREE}%", f"'{THREE}%' is not a percentage; write 1%"),
        (Share(), "nan%", "'nan%' is not a percentage; write 1%"),
        (Share(), "-1", "'-1' is not a percentage; write 1%"),
        (Duration(), "9" * 500 + "s", f"'{'9' * 500}s' is not a duration; write 90s, 5m or 2h"),
        (SEED, "-1", "-1 is not in the range x>=0."),
        (SEED, str(2**63), f"{2**63} is too many: at most {2**63 - 1}"),
        (Duration(), f"{THREE}s", f"'{THREE}s' is not a duration; write 90s, 5m or 2h"),
    ],
)
def test_what_is_no_such_number_is_refused(kind: click.ParamType, text: str, message: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        kind.convert(text, None, None)
    assert caught.value.message == message


@pytest.mark.parametrize(
    "words",
    [
        ("bench", "build", "--seed", "-1"),
        ("assign", "fisher_error", "--act-bits", THREE),
        ("rank", "emq", "--draws", "1e30"),
        ("eval", "emq", "--loss", "mine"),
        ("lineage", "run", THREE),
    ],
)
def test_a_value_that_does_not_do_is_a_record(emq: Emq, words: tuple[str, ...]) -> None:
    shown = emq(*words, "--json")
    assert (shown.status, json.loads(shown.out)["errors"][0]["code"]) == (2, "E403")
    assert emq(*words).err.startswith("error[E403]: ")


@pytest.mark.parametrize("option", ["--size", "--avg-bits"])
def test_limits_are_written_in_digits_of_ours(emq: Emq, option: str) -> None:
    text = f"{THREE}MiB" if option == "--size" else THREE
    done = emq("assign", "numel", option, text)
    assert done.status == 2 and "E404" in done.err


def test_numbers_are_read() -> None:
    assert SECONDS.convert("2.5e1", None, None) == 25
    assert Share().convert(" 1 %", None, None) == 0.01
    assert (POSITIVE.convert("64", None, None), SEED.convert("0", None, None)) == (64, 0)
    assert isinstance(POSITIVE, Whole)
