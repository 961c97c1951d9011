"""What a benchmark table is built from, in the words of the command line: enough to build it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from emqlang.grammar.diagnostics import error
from emqlang.quant.bits.menu import Choice, parse_bits, parse_menu
from emqlang.quant.ptq.recipe import Procedure

ROWS = 425  # as MQ-Bench-101 has


@dataclass(frozen=True)
class Spec:
    """Options as `emqlang bench build` takes them.

    menu      '2,3,4', or pairs: 'W2A8,W4A8'
    fix       groups that take one choice in every row: 'conv1=8,fc=8'
    rounding  'nearest', 'adaround' or 'brecq'; `iterations` of the learned ones, a unit
    composed  learned roundings are learned once for each unit and combination of its choices, on float inputs, instead of
              anew for each row on what its quantized network gives
    seed      of the configurations, the calibration images where they are drawn, and what is learned
    """

    model: str
    weights: str | None = None
    data: str | None = None
    test: str | None = None
    menu: str = "2,3,4"
    fix: str = ""
    rows: int = ROWS
    seed: int = 0
    act_bits: int = 8
    calib_images: int = 1024
    range: str = "mse"
    rounding: str = "nearest"
    iterations: int = 20_000
    composed: bool = False

    def choices(self) -> tuple[Choice, ...]:
        """The menu. Raises E401."""
        return parse_menu(self.menu) if "A" in self.menu.upper() else parse_bits(self.menu)

    @property
    def procedure(self) -> Procedure:
        """How each row is quantized."""
        return Procedure(self.rounding, self.calib_images, self.iterations)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Spec:
        """What `as_dict` gave. Raises E314 for anything else."""
        if set(record) != {field.name for field in fields(cls)}:
            raise error(
                "E314",
                "the table says in another way what it was built from",
                "build it again with this version",
            )
        return cls(**record)

    def differences(self, other: Spec) -> list[str]:
        """Where the other one differs, as `--rows is 100, not 425`."""
        pairs = (
            (field.name, getattr(self, field.name), getattr(other, field.name))
            for field in fields(self)
        )
        return [
            f"{name.replace('_', '-')} is {theirs}, not {own}"
            for name, own, theirs in pairs
            if own != theirs
        ]
