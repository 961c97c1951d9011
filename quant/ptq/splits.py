"""What a network is calibrated on, and what it is tested on."""

from __future__ import annotations

from dataclasses import dataclass, replace

from emqlang.grammar.diagnostics import Diagnostic, error
from emqlang.quant.data.datasets import SHIPPED, Dataset, Split, load_data
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
        calibration = _named(network, _given(network, data, "--data"), "calibration", seed, images)
        return cls(calibration, test_images(network, data, test, seed))

    def halves(self, seed: int) -> tuple[Splits, Splits]:
        """The shipped test images in two: one half to choose by, one to report on.

        Test images of your own stay whole.
        """
        if self.test.name != SHIPPED:
            return self, self
        first, second = self.test.halves(seed)
        return replace(self, test=first), replace(self, test=second)

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        """W607 for noise."""
        return (*self.calibration.warnings, *self.test.warnings)

    @property
    def overlap(self) -> bool:
        """Whether the test images are also the calibration images."""
        return self.calibration.name == self.test.name != SHIPPED


def test_images(network: Network, data: str | None, test: str | None, seed: int) -> Dataset:
    """The images to test on, as `Splits.of` finds them; `data` is read if there is no `test`."""
    return _named(network, test or _given(network, data, "--data or --test"), "test", seed)


def _given(network: Network, data: str | None, options: str) -> str:
    given = data or (network.spec.data if network.spec else "")
    if not given:
        raise error(
            "E303", f"'{network.name}' has no images of its own", f"give some with {options}"
        )
    return given


def _named(
    network: Network, text: str, split: Split, seed: int, count: int | None = None
) -> Dataset:
    form = network.spec.images if network.spec else ImageFormat.of(network.input_shape)
    return load_data(
        text,
        form,
        network.classes,
        count=count,
        split=split,
        seed=seed,
        net=network.module,
    )
