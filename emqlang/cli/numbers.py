"""Numbers as options take them: whole, of time, of a share."""

from __future__ import annotations

import re
from typing import Any

import click

Parameter = click.Parameter | None


class Whole(click.IntRange):
    """An integer in ASCII digits, from `min` on to what there can be of anything."""

    def __init__(self, min: int, largest: int = 10**9) -> None:
        super().__init__(min=min)
        self.largest = largest

    def convert(self, value: Any, param: Parameter, ctx: click.Context | None) -> int:
        if not str(value).isascii():
            self.fail(f"'{value}' is not a whole number", param, ctx)
        number: int = super().convert(value, param, ctx)
        if number > self.largest:
            self.fail(f"{number} is too many: at most {self.largest}", param, ctx)
        return number


class Duration(click.types.FloatParamType):
    """A time in seconds: `90s`, `5m`, `2h`."""

    name = "time"

    def convert(self, value: Any, param: Parameter, ctx: click.Context | None) -> float:
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(s|m|h)", str(value).strip())
        if match is None or not float(match[1]):
            self.fail(f"'{value}' is not a duration; write 90s, 5m or 2h", param, ctx)
        return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]


class Share(click.types.FloatParamType):
    """A percentage, as a share: `1%` or `1` is 0.01."""

    name = "percent"

    def convert(self, value: Any, param: Parameter, ctx: click.Context | None) -> float:
        try:
            share = float(str(value).strip().removesuffix("%")) / 100
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1:
            self.fail(f"'{value}' is not a percentage; write 1%", param, ctx)
        return share


POSITIVE = Whole(min=1)
SEED = Whole(min=0, largest=2**63 - 1)
