"""The menu: what a group of layers may choose from."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from emqlang.grammar.diagnostics import EmqError, error

LARGEST = 16
RANGE = f"bits go from 1 to {LARGEST}; a network is quantized to 2 to 8"


@dataclass(frozen=True, order=True)
class Choice:
    """A width for the weights, and one for the layer's input where that is chosen too."""

    weight_bits: int
    act_bits: int | None = None

    def __str__(self) -> str:
        return f"W{self.weight_bits}" + ("" if self.act_bits is None else f"A{self.act_bits}")

    @property
    def entry(self) -> int | str:
        """The choice as configurations write it: 4, or 'W4A8'."""
        return self.weight_bits if self.act_bits is None else str(self)


def parse_bits(text: str) -> tuple[Choice, ...]:
    """Weight bits alone: '2,3,4'. Raises E401."""
    return _parse(text, r"()([0-9]{1,3})()", "weight bits such as 2,3,4")


def parse_menu(text: str) -> tuple[Choice, ...]:
    """Weight and activation bits together: 'W2A8,W4A8'. Raises E401."""
    return _parse(text, r"(W)([0-9]{1,3})A([0-9]{1,3})", "pairs such as W2A8,W4A8")


def parse_choice(text: str) -> Choice:
    """One choice: `4`, `W4` or `W4A8`. Raises E402."""
    try:
        (choice,) = parse_menu(text) if "A" in text else parse_bits(text.removeprefix("W"))
    except (EmqError, ValueError) as failure:  # ValueError: several
        why = failure.diagnostics[0].help if isinstance(failure, EmqError) else ()
        form = "write bits as 4, or W4A8 where activation bits are chosen too"
        raise error("E402", f"'{text}' is not a choice", *why, form) from failure
    return choice


def _parse(text: str, form: str, example: str) -> tuple[Choice, ...]:
    choices: list[Choice] = []
    for entry in map(str.strip, text.split(",")):
        match = re.fullmatch(form, entry, re.ASCII)
        if match is None:
            raise error("E401", f"'{entry}' is not an entry of a menu of {example}")
        _, weight, act = match.groups()
        choice = Choice(int(weight), int(act) if act else None)
        if not all(1 <= int(bits) <= LARGEST for bits in (weight, act) if bits):
            raise error("E401", f"'{entry}' is out of range", RANGE)
        if choice in choices:
            raise error("E401", f"'{entry}' appears twice in the menu")
        choices.append(choice)
    return tuple(choices)


def weight_widths(menu: Iterable[Choice]) -> tuple[int, ...]:
    """The distinct weight bits of a menu, in order of first appearance."""
    return tuple(dict.fromkeys(choice.weight_bits for choice in menu))


def act_widths(menu: Iterable[Choice]) -> tuple[int | None, ...]:
    """The distinct activation bits of a menu, in order of first appearance: None if not chosen."""
    return tuple(dict.fromkeys(choice.act_bits for choice in menu))


def width(choice: Choice) -> tuple[int, int]:
    """By which choices are compared for the most bits."""
    return choice.weight_bits * (choice.act_bits or 1), choice.weight_bits
