"""What a network is calibrated on, and what it is tested on."""

from __future__ import annotations

from dataclasses import dataclass, replace

from emqlang.grammar.diagnostics import error
from emqlang.quant.data.datasets import SHIPPED, Batches, load_data
from emqlang.quant.data.images import ImageFormat
from emqlang.quant.networks.network import Network


@dataclass(frozen=True)
class Splits:
    """Images that calibrate, and images that test."""

    calibration: Batches
    test: Batches

    @classmethod
    def of(
        cls, network: Network, data: str | None, test: str | None, images: int, seed: int
    ) -> Splits:
        """`data` and `test` as `--data` takes them. By default the network's own; for data of your own, all of it tests.

        Raises E303 for a network without images of its own, E304 for too few, E301.
        """
        spec = network.spec
        given = data or (spec.data if spec else "")
        if not given:
            raise error(
                "E303", f"'{network.name}' has no images of its own", "give some with --data"
            )
        form = spec.images if spec else ImageFormat.of(network.input_shape)
        common = {"classes": network.classes, "net": network.module, "seed": seed}
        calibration = load_data(given, form, count=images, split="calibration", **common)  # type: ignore[arg-type]
        return cls(calibration, load_data(test or given, form, split="test", **common))  # type: ignore[arg-type]

    def halves(self, seed: int) -> tuple[Splits, Splits]:
        """The shipped test images in two: one half to choose by, the other to report on. Test images of your own stay whole."""
        if self.test.name != SHIPPED:
            return self, self
        first, second = self.test.halves(seed)
        return replace(self, test=first), replace(self, test=second)

    @property
    def overlap(self) -> bool:
        """Whether the test images are also those that calibrate."""
        return self.calibration.name == self.test.name != SHIPPED
