"""What a network is calibrated on, and what it is tested on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from emqlang.grammar.diagnostics import Diagnostic, error
from emqlang.quant.data.datasets import SHIPPED, Dataset, Split, load_data
from emqlang.quant.data.images import ImageFormat
from emqlang.quant.data.loader import Wanted
from emqlang.quant.networks.batches import rows, rows_at
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
        calibration = calibration_images(network, data, seed, images)
        return cls(calibration, test_images(network, data, test, seed))

    def halves(self, seed: int) -> tuple[Splits, Splits]:
        """The test images in two: one half to choose by, one to report on."""
        if self.test.name == SHIPPED:
            first, second = self.test.halves(seed)
        else:
            first, second = (_half(self.test, seed, place) for place in (0, 1))
        return (
            replace(self, test=replace(first, source=f"first half, {first.source}")),
            replace(self, test=replace(second, source=f"second half, {second.source}")),
        )

    @property
    def warnings(self) -> tuple[Diagnostic, ...]:
        """W607 for noise."""
        return (*self.calibration.warnings, *self.test.warnings)

    @property
    def overlap(self) -> bool:
        """Whether the test images are also the calibration images."""
        return self.calibration.name == self.test.name != SHIPPED


def calibration_images(network: Network, data: str | None, seed: int, images: int) -> Dataset:
    """The images to calibrate on, as `Splits.of` finds them."""
    return _named(network, _given(network, data, "--data"), "calibration", seed, images)


def test_images(
    network: Network, data: str | None, test: str | None, seed: int, *, labelled: bool = True
) -> Dataset:
    """The images to test on, as `Splits.of` finds them; `data` is read if there is no `test`.

    labelled  whether noise is, by the network
    """
    text = test or _given(network, data, "--data or --test")
    return _named(network, text, "test", seed, labelled=labelled)


def training_images(
    network: Network, data: str | None, seed: int, images: int | None = None
) -> Dataset:
    """The images to train on: all, or as many as are wanted, drawn with the seed."""
    named = _given(network, data, "--data")
    return _named(network, named, "training", seed, images, option="--train-images")


def _half(data: Dataset, seed: int, place: int) -> Dataset:
    """Half of the images of every batch, drawn at random; whoever streams them need not hold them.

    place  which half: 0, or 1 for the images that are not in it
    """

    def stream() -> Iterator[Any]:
        generator = torch.Generator().manual_seed(seed)
        odd = 0  # images of batches of odd sizes that the first half has had more
        for batch in data.batches():
            size = rows(batch)
            middle = (size + 1 - odd) // 2
            odd ^= size % 2
            order = torch.randperm(size, generator=generator)
            kept = order[middle:] if place else order[:middle]
            if len(kept):
                yield rows_at(batch, kept.sort().values)

    return replace(data, source=f"drawn from {data.source}", count=None, stream=stream)


def _given(network: Network, data: str | None, options: str) -> str:
    given = data or (network.spec.data if network.spec else "")
    if not given:
        raise error(
            "E303", f"'{network.name}' has no images of its own", f"give some with {options}"
        )
    return given


def _named(
    network: Network,
    text: str,
    split: Split,
    seed: int,
    count: int | None = None,
    option: str = "--calib-images",
    labelled: bool = True,
) -> Dataset:
    form = network.spec.images if network.spec else ImageFormat.of(network.input_shape)
    return load_data(
        text,
        form,
        network.classes,
        count=count,
        split=split,
        seed=seed,
        net=network.module if labelled else None,
        wanted=Wanted(network.input_shape, network.example, network.signature),
        option=option,
    )
