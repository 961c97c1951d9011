"""Why a candidate is not scored, or does not count: the reject ladder, cheapest reason first."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Reason(StrEnum):
    """What became of a candidate; `SCORED` counts."""

    SEEN = "seen"
    CONSTANT = "constant"
    KINDS = "kinds"
    CONFLICT = "conflict"
    INVALID = "invalid"
    OVERFLOW = "overflow"
    INSENSITIVE = "insensitive"
    COUNTS_BITS = "counts_bits"
    SAME_SCORES = "same_scores"
    UNTOLD = "untold"
    SCORED = ""


MEANINGS: Final[Mapping[Reason, str]] = {
    Reason.SEEN: "it has been seen",
    Reason.CONSTANT: "its canonical form reads nothing of the network but the bits",
    Reason.KINDS: "its parts are of kinds that do not go together",
    Reason.CONFLICT: "two of its operations undo each other",
    Reason.INVALID: "every layer's value, or every probe's score, is one of -1, 0, 1, nan, inf",
    Reason.OVERFLOW: "a score overflows or is not a number",
    Reason.INSENSITIVE: "its score is the same for every configuration",
    Reason.COUNTS_BITS: "it orders configurations as the sum of bits does",
    Reason.SAME_SCORES: "it orders configurations as another program does that is no larger",
    Reason.UNTOLD: "it was evaluated again: its graph is new, though the rules know the program",
    Reason.SCORED: "it was scored",
}
BEFORE: Final = (Reason.SEEN, Reason.CONSTANT, Reason.KINDS, Reason.CONFLICT)  # any is evaluated
assert MEANINGS.keys() == set(Reason)
