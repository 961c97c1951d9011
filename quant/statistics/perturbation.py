"""What quantizing one group alone does to the network: a forward of all images for each group and choice.

Quantized are the group's weights and, where the menu chooses activation bits, its layers' inputs. `kl` and `loss_inc`
belong to the group as a whole: its main layer has them, and the others 0, so that they add up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emqlang.quant.bits.menu import Choice
from emqlang.quant.networks.layers import Group, Layer
from emqlang.quant.networks.tracing import plain_kernels
from emqlang.quant.ptq.sites import attach
from emqlang.quant.statistics.quantization_errors import BATCH, InputGrids, find_inputs, quantized
from emqlang.quant.statistics.subject import CLASS_AXIS, Subject
from emqlang.quant.statistics.table import Measured

NAMES = ("out_mse", "kl", "loss_inc")


def measure(subject: Subject, names: frozenset[str]) -> dict[str, Measured]:
    """`out_mse`: squared error of a layer's own output over its squared norm; `kl`: mean KL of the softmax from float;
    `loss_inc`: increase of the mean loss."""
    trial = _Trial(subject, names)
    groups = subject.network.collection.groups
    for number, group in enumerate(groups):
        for row, choice in enumerate(subject.menu):
            trial.run(group, row, choice)
        subject.progress("perturbation", number + 1, len(groups))
    return {name: Measured(trial.results[name]) for name in names}


class _Trial:
    """A copy of the network whose groups are quantized one at a time; `results` are (choices, L)."""

    def __init__(self, subject: Subject, names: frozenset[str]) -> None:
        self.subject, self.names = subject, names
        self.module = deepcopy(subject.module).requires_grad_(False)
        self.results = {
            name: subject.numbers([[0.0] * len(subject.layers)] * len(subject.menu))
            for name in NAMES
        }

    @cached_property
    def inputs(self) -> InputGrids:
        return find_inputs(self.subject)

    @cached_property
    def logits(self) -> list[Tensor]:
        """Of the float network, batch by batch."""
        with torch.no_grad(), plain_kernels():
            return [
                self.subject.logits(images) for images in torch.split(self.subject.images, BATCH)
            ]

    def run(self, group: Group, row: int, choice: Choice) -> None:
        """Quantizes one group by one choice and books what that does."""
        subject, count = self.subject, len(self.subject.images)
        noise, energy = (
            torch.zeros(len(subject.layers), dtype=torch.float64, device=subject.device)
            for _ in range(2)
        )
        weights = {index: quantized(subject, index, choice.weight_bits) for index in group.layers}
        for number, images in enumerate(torch.split(subject.images, BATCH)):
            wanted = self._forward(images, group)[1] if "out_mse" in self.names else {}
            with self._quantized(weights, choice.act_bits):
                logits, found = self._forward(images, group)
            for index, output in wanted.items():
                noise[index] += (found[index] - output).square().sum(dtype=torch.float64)
                energy[index] += output.square().sum(dtype=torch.float64)
            self._book(group, row, number, logits, len(images) / count)
        for index in group.layers:
            exact = noise[index] == 0
            self.results["out_mse"][row, index] = 0.0 if exact else noise[index] / energy[index]

    def _book(self, group: Group, row: int, number: int, logits: Tensor, share: float) -> None:
        """One batch's part of what belongs to the group as a whole."""
        if "kl" in self.names:
            wanted, found = (
                values.double().log_softmax(CLASS_AXIS) for values in (self.logits[number], logits)
            )
            divergence = (
                F.kl_div(found, wanted, reduction="none", log_target=True).sum(CLASS_AXIS).mean()
            )
            self.results["kl"][row, group.main] += share * divergence.clamp(min=0)
        if "loss_inc" in self.names:
            images, labels = self.subject.batches(BATCH)[number]
            losses = [
                self.subject.loss(values, images, labels).double() / len(labels)
                for values in (logits, self.logits[number])
            ]
            self.results["loss_inc"][row, group.main] += share * (losses[0] - losses[1])

    def _forward(self, images: Tensor, group: Group) -> tuple[Tensor, dict[int, Tensor]]:
        """Logits, and what each layer of the group puts out in all its calls."""
        with (
            torch.no_grad(),
            plain_kernels(),
            self.subject.outputs(self.module, group.layers) as seen,
        ):
            logits = self.subject.logits(images, self.module)
        return logits, {
            index: torch.cat([call.flatten() for call in seen[index]]) for index in group.layers
        }

    @contextmanager
    def _quantized(self, weights: Mapping[int, Tensor], act_bits: int | None) -> Iterator[None]:
        """While it lasts, the copy has these weights, by layer, and their layers' inputs quantized."""
        layers = [self.subject.layers[index] for index in weights]
        for layer in layers:
            self._install(layer, weights[layer.index])
        detach = self._attach(layers, act_bits)
        try:
            yield
        finally:
            detach()
            for layer in layers:
                self._install(layer, layer.weight)

    @torch.no_grad()
    def _install(self, layer: Layer, values: Tensor) -> None:
        weight = self.module.get_submodule(layer.name).weight
        assert isinstance(weight, nn.Parameter)
        weight.copy_(values)

    def _attach(self, layers: Sequence[Layer], act_bits: int | None) -> Callable[[], None]:
        if act_bits is None:
            return lambda: None
        names = {layer.name for layer in layers}
        sites = [
            replace(site, layers=kept)
            for site in self.inputs.sites
            if (kept := tuple(n for n in site.layers if n in names))
        ]
        grids = {site.name: self.inputs.grids[site.name][act_bits] for site in sites}
        return attach(self.module, self.subject.layers, sites, grids)
