"""What a network is calibrated on, and what it is tested on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from emqlang.grammar.diagnostics import error
from emqlang.quant.data.datasets import SHIPPED, Dataset, load_data
from emqlang.quant.data.images import ImageFormat
from emqlang.quant.networks.network import Network


@dataclass(frozen=True)
class Splits:
    """Calibration images, and test images."""

    calibration: Dataset
    test: Dataset

    @classmethod
    def of(
        cls, network: Network, data: str | None, test: str | None, images: int, seed: int
    ) -> Splits:
        """`data` and `test` as `--data` takes them; by default the network's own.

        Of data of your own, all of it tests. Raises E303 for a network without images of its own,
        E304 for too few, E301.
        """
        spec, net, classes = network.spec, network.module, network.classes
        source = data or (spec.data if spec else "")
        if not source:
            message = f"'{network.name}' has no images of its own"
            raise error("E303", message, "give some with --data")
        form = spec.images if spec else ImageFormat.of(network.input_shape)
        load = partial(load_data, images=form, classes=classes, seed=seed, net=net)
        calibration = load(source, split="calibration", count=images)
        return cls(calibration, load(test or source, split="test"))

    def halves(self, seed: int) -> tuple[Splits, Splits]:
        """The shipped test images in two: one half to choose by, one to report on.

        Test images of your own stay whole.
        """
        if self.test.name != SHIPPED:
            return self, self
        first, second = self.test.halves(seed)
        return replace(self, test=first), replace(self, test=second)

    @property
    def overlap(self) -> bool:
        """Whether the test images are also the calibration images."""
        return self.calibration.name == self.test.name != SHIPPED
