"""What a benchmark table is built from, in the command line's words: enough to build it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import asdict

from emqlang.quant.bits.menu import Choice, parse_bits, parse_menu
from emqlang.quant.ptq.recipe import Procedure
from emqlang.quant.records import typed

if TYPE_CHECKING:
    from emqlang.quant.networks.network import Network

IMPORTED = "imported"  # as rounding: how the rows were quantized is not known
ROWS = 425  # as MQ-Bench-101 has


class Spec(Struct, frozen=True, forbid_unknown_fields=True):
    """Options as `emqlang bench build` takes them.

    menu      '2,3,4', or pairs: 'W2A8,W4A8'
    fix       groups that take one choice in every row: 'conv1=8,fc=8'
    rounding  'nearest', 'adaround' or 'brecq'; `iterations` of learned rounding, per unit
    sample    'uniform' over all configurations, or 'edge': at the edges of size budgets
    composed  learned once for each unit and combination of its choices, on the float network's
              inputs, instead of for each row on what its quantized network gives
    seed      of the configurations, of calibration images that are drawn, of what is learned
    """

    model: str
    weights: str | None = None
    data: str | None = None
    test: str | None = None
    input: str | None = None
    forward: str | None = None
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
    sample: str = "uniform"

    def network(self) -> Network:
        """The network that is named. Raises E301, E305 to E309, E403 for a shape."""
        from emqlang.quant.networks.network import load  # torch takes a second
        from emqlang.quant.networks.signature import load_forward

        data, input = self.data or self.test or "", self.input or ""
        return load(
            self.model,
            self.weights,
            seed=self.seed,
            data=data,
            input=input,
            forward=load_forward(self.forward),
        )

    def choices(self) -> tuple[Choice, ...]:
        """The menu. Raises E401."""
        return parse_menu(self.menu) if "A" in self.menu.upper() else parse_bits(self.menu)

    @property
    def procedure(self) -> Procedure:
        """How each row is quantized."""
        return Procedure(self.rounding, self.calib_images, self.iterations)

    def as_dict(self) -> dict[str, Any]:
        record = asdict(self)
        if self.forward is None:  # as tables have it that were built before there was one
            del record["forward"]
        return record

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Spec:
        """What `as_dict` gave. Raises E314 for anything else."""
        return typed(record, cls, "E314", "what the table was built from")

    def differences(self, other: Spec) -> list[str]:
        """Where the other one differs, as `--rows is 100, not 425`."""
        before, now = asdict(self), asdict(other)
        return [
            f"{name.replace('_', '-')} is {now[name]}, not {value}"
            for name, value in before.items()
            if now[name] != value
        ]
