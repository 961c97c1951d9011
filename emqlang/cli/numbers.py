"""Numbers as options take them: whole, of time, of a share."""

from __future__ import annotations

import re
from typing import Any

import click

Parameter = click.Parameter | None
LONGEST = 64  # digits
YEARS = 1e9  # thirty of them in seconds: what runs longer has no limit


REAL = r"[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]{1,4})?"


class Whole(click.IntRange):
    """An integer in ASCII digits, from `min` on to what there can be of anything."""

    def __init__(self, min: int, largest: int = 10**9) -> None:
        super().__init__(min=min)
        self.largest = largest

    def convert(self, value: Any, param: Parameter, ctx: click.Context | None) -> int:
        text = str(value).strip()
        if not re.fullmatch(r"[-+]?[0-9]+", text):
            self.fail(f"'{value}' is not a whole number", param, ctx)
        if len(text) > LONGEST or int(text) > self.largest:
            self.fail(f"{text} is too many: at most {self.largest}", param, ctx)
        number: int = super().convert(int(text), param, ctx)
        return number


class Real(click.types.FloatParamType):
    """A positive number in ASCII digits, and no more than `largest`."""

    def __init__(self, largest: float) -> None:
        self.largest = largest

    def convert(self, value: Any, param: Parameter, ctx: click.Context | None) -> float:
        text = str(value).strip()
        number = float(text) if re.fullmatch(REAL, text) else 0.0
        if not 0 < number <= self.largest:
            wanted = f"a number above 0 and up to {self.largest:g}"
            self.fail(f"'{value}' is not {wanted}", param, ctx)
        return number


class Duration(click.types.FloatParamType):
    """A time in seconds: `90s`, `5m`, `2h`."""

    name = "time"

    def convert(self, value: Any, param: Parameter, ctx: click.Context | None) -> float:
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(s|m|h)", str(value).strip())
        seconds = float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]] if match else 0.0
        if not 0 < seconds <= YEARS:
            self.fail(f"'{value}' is not a duration; write 90s, 5m or 2h", param, ctx)
        return seconds


class Share(click.types.FloatParamType):
    """A percentage, as a share: `1%` or `1` is 0.01."""

    name = "percent"

    def convert(self, value: Any, param: Parameter, ctx: click.Context | None) -> float:
        text = str(value).strip().removesuffix("%").rstrip()
        share = float(text) / 100 if re.fullmatch(REAL, text) else -1.0
        if not 0 <= share <= 1:
            self.fail(f"'{value}' is not a percentage; write 1%", param, ctx)
        return share


POSITIVE = Whole(min=1)
ACT_BITS = Whole(min=2, largest=8)
WORKERS = Whole(min=1, largest=1024)
SECONDS = Real(YEARS)
FRACTION = Real(1)
THOUSAND = Real(1000)
SEED = Whole(min=0, largest=2**63 - 1)
