"""Rows of a table: the network, its images and all that rows share, loaded once per process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from emqlang.grammar.diagnostics import error
from emqlang.quant.bits.fixed import allowed, extended, parse_fixed
from emqlang.quant.bits.menu import Choice
from emqlang.quant.determinism import one_thread
from emqlang.quant.networks.answers import answer, logits_of
from emqlang.quant.networks.batches import held, labels_of, pass_through, take
from emqlang.quant.networks.network import Network
from emqlang.quant.ptq.grids import WeightQuantizer
from emqlang.quant.ptq.quantize import quantize
from emqlang.quant.ptq.quantized import identity
from emqlang.quant.ptq.reach import reach
from emqlang.quant.ptq.recipe import LayerRecipe, Recipe, input_scheme, weight_scheme
from emqlang.quant.ptq.rounding import Codes
from emqlang.quant.ptq.splits import Splits
from emqlang.quant.tables.blockwise import Blockwise
from emqlang.quant.tables.composition import Composition, Nearest
from emqlang.quant.tables.measurement import Measurement, measurement
from emqlang.quant.tables.spec import Spec

Configuration = tuple[int, ...]  # for each group, an index of the menu


class RowBuilder:
    """Makes rows of a table.

    roundings  what a composed table has learned: (unit, combination) -> integers of its layers
    """

    def __init__(
        self, spec: Spec, roundings: Mapping[tuple[str, str], Codes] | None = None
    ) -> None:
        """Raises E301 to E309, E401, E402."""
        self.spec = spec
        self.network: Network = spec.network()
        self.splits = Splits.of(self.network, spec.data, spec.test, spec.calib_images, spec.seed)
        collection, menu = self.network.collection, spec.choices()
        fixed = parse_fixed(spec.fix, collection, menu[0].act_bits is not None)
        self.menu = extended(menu, fixed)
        self.allowed = allowed(menu, fixed, len(collection.groups))
        self._roundings = roundings or {}

    @cached_property
    def calibration(self) -> list[Any]:
        return take(self.splits.calibration, self.spec.calib_images)

    @cached_property
    def test(self) -> list[Any]:
        return held(self.splits.test)

    @cached_property
    def labels(self) -> Tensor:
        """Labels of the test images. Raises E304 where there are none."""
        labels = [labels_of(batch, self.network.signature) for batch in self.test]
        found = [each for each in labels if each is not None]
        if len(found) < len(labels):
            message = "the test images have no labels, and a benchmark table is of accuracies"
            raise error("E304", message)
        for logits, each in zip(self._float, found, strict=True):
            said = answer(logits, len(each), each)  # raises E304 for labels that do not fit
            if not said.has_classes or each.ndim != 1:
                message = "the network answers no class for each image"
                raise error("E304", f"{message}, and a benchmark table is of accuracies")
        return torch.cat(found)

    @cached_property
    def plain(self) -> Measurement:
        """The float network's measurement."""
        return measurement(self._float, self.labels, self._answers)

    @cached_property
    def _float(self) -> list[Tensor]:
        return self._logits(self.network.module)

    @cached_property
    def _answers(self) -> Tensor:
        return torch.cat([part.argmax(1) for part in self._float])

    def _logits(self, module: torch.nn.Module) -> list[Tensor]:
        forward = self.network.forward
        with one_thread(), torch.no_grad():
            return [logits_of(pass_through(module, images, forward)) for images in self.test]

    @cached_property
    def routed(self) -> bool:
        """Whether routers send layers other rows from image to image: parts cannot be composed."""
        layers, forward = self.network.collection.layers, self.network.forward
        found = reach(self.network.module, layers, self.calibration, forward)
        return bool(found.routed or found.unreached)

    @cached_property
    def blockwise(self) -> Blockwise:
        """Rounding of a composed table. Raises E308 for a routed network."""
        if self.routed:
            message = "the network's layers see other rows from image to image"
            raise error("E308", f"{message}: its rows cannot be composed", "leave --composed out")
        return Blockwise(self.network, self.spec, self.calibration, self._roundings)

    @cached_property
    def composition(self) -> Composition:
        """Of a table whose layers or units are rounded once per choice."""
        spec, nearest = self.spec, Nearest(WeightQuantizer(self.spec.range))
        return Composition(
            self.network,
            self.blockwise if spec.composed else nearest,
            self.calibration,
            self.test,
            act_bits=spec.act_bits,
            observer=spec.range,
            seed=spec.seed,
        )

    @property
    def composes(self) -> bool:
        return self.spec.composed or (self.spec.rounding == "nearest" and not self.routed)

    def by_layer(self, configuration: Configuration) -> list[Choice]:
        """A choice for every layer."""
        collection = self.network.collection
        chosen: dict[int, Choice] = {}
        for group, choice in zip(collection.groups, configuration, strict=True):
            chosen |= dict.fromkeys(group.layers, self.menu[choice])
        return [chosen[layer.index] for layer in collection.layers]

    def recipe(self, configuration: Configuration) -> Recipe:
        """The recipe that `quantize` takes for a configuration."""
        spec, schemes = self.spec, {}
        layers, choices = self.network.collection.layers, self.by_layer(configuration)
        for layer, choice in zip(layers, choices, strict=True):
            weight = weight_scheme(choice.weight_bits, observer=spec.range)
            inputs = input_scheme(choice.act_bits or spec.act_bits, observer=spec.range)
            schemes[layer.name] = LayerRecipe(weight, inputs)
        return Recipe(identity(self.network), schemes, seed=spec.seed)

    def measure(self, configuration: Configuration, cuts: Sequence[int] = ()) -> Measurement:
        """One row, quantized, and tested on all test images.

        On one thread, so that a row is the same whatever runs beside it.
        """
        answers, labels, began = self._answers, self.labels, perf_counter()
        with one_thread():
            if self.composes:
                logits, saved = self.composition.run(self.by_layer(configuration), cuts)
            else:
                logits, saved = self._sequential(configuration), 0.0
        return measurement(logits, labels, answers, perf_counter() - began, saved)

    def _sequential(self, configuration: Configuration) -> list[Tensor]:
        recipe, procedure = self.recipe(configuration), self.spec.procedure
        quantized = quantize(self.network, recipe, self.calibration, procedure)
        return self._logits(quantized.module)


@lru_cache(maxsize=2)
def row_builder(spec: Spec, ledger: Path | None = None) -> RowBuilder:
    """This process's builder for a spec; a composed table's knows what its ledger has learned."""
    if not spec.composed or ledger is None:
        return RowBuilder(spec)
    from emqlang.quant.tables.ledger import Ledger

    return RowBuilder(spec, Ledger(ledger, read_only=True).roundings())


def measure(
    spec: Spec, ledger: Path, row: int, configuration: Configuration, cuts: Sequence[int]
) -> tuple[int, Measurement]:
    """The task of one row."""
    return row, row_builder(spec, ledger).measure(configuration, cuts)


def learn(spec: Spec, unit: str, combination: str) -> tuple[str, str, Codes]:
    """The task of one unit under one combination of its choices."""
    return unit, combination, row_builder(spec).blockwise.learn(unit, combination)
