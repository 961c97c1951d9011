"""What quantizing one group alone does to the network: a pass of all images per group and choice.

Quantized are the group's weights and, where the menu chooses activation bits, its layers' inputs.
`kl` and `loss_inc` belong to the group as a whole: its main layer has them, and the others 0, so
that they add up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emqlang.grammar.diagnostics import error
from emqlang.quant.bits.menu import Choice
from emqlang.quant.networks.answers import class_axis
from emqlang.quant.networks.layers import Group, Layer
from emqlang.quant.networks.plain import copied
from emqlang.quant.networks.tracing import plain_kernels
from emqlang.quant.ptq.sites import attach
from emqlang.quant.statistics.quantization_errors import (
    BATCH,
    InputGrids,
    find_inputs,
    quantized_weight,
)
from emqlang.quant.statistics.subject import Subject
from emqlang.quant.statistics.table import Measured

NAMES: Final = ("out_mse", "kl", "loss_inc")


def measure(subject: Subject, names: frozenset[str]) -> dict[str, Measured]:
    """`out_mse`, `kl` and `loss_inc`.

    out_mse   squared error of a layer's own output over its squared norm
    kl        mean KL divergence of the softmax from the float network's
    loss_inc  increase of the mean loss
    """
    trials = _Trials(subject, names)
    groups = subject.network.collection.groups
    for number, group in enumerate(groups, 1):
        for row, choice in enumerate(subject.menu):
            trials.run(group, row, choice)
        subject.progress("perturbation", number, len(groups))
    return {name: Measured(trials.results[name]) for name in names}


class _Trials:
    """Trials quantize one group of a copy of the network at a time; `results` are (choices, L)."""

    def __init__(self, subject: Subject, names: frozenset[str]) -> None:
        self.subject, self.names = subject, names
        self.module = copied(subject.module).requires_grad_(False)
        shape = len(subject.menu), len(subject.layers)
        self.results = {name: subject.zeros(*shape) for name in NAMES}

    @cached_property
    def inputs(self) -> InputGrids:
        return find_inputs(self.subject)

    @cached_property
    def logits(self) -> list[Tensor]:
        """The float network's, batch by batch."""
        batches = torch.split(self.subject.images, BATCH)
        with torch.no_grad(), plain_kernels():
            return [self.subject.logits(images) for images in batches]

    def run(self, group: Group, row: int, choice: Choice) -> None:
        """Quantize one group by one choice and note what that does."""
        subject, bits = self.subject, choice.weight_bits
        noise, energy = subject.zeros(len(subject.layers)), subject.zeros(len(subject.layers))
        weights = {index: quantized_weight(subject, index, bits) for index in group.layers}
        for number, images in enumerate(torch.split(subject.images, BATCH)):
            float_outputs = self._forward(images, group)[1] if "out_mse" in self.names else {}
            with self._quantized(weights, choice.act_bits):
                logits, outputs = self._forward(images, group)
            for index, output in float_outputs.items():
                noise[index] += (outputs[index] - output).square().sum(dtype=torch.float64)
                energy[index] += output.square().sum(dtype=torch.float64)
            share = len(images) / len(subject.images)
            if "kl" in self.names:
                self.results["kl"][row, group.main] += share * self._divergence(number, logits)
            if "loss_inc" in self.names:
                self.results["loss_inc"][row, group.main] += share * self._increase(number, logits)
        for index in group.layers:
            exact = noise[index] == 0
            self.results["out_mse"][row, index] = 0.0 if exact else noise[index] / energy[index]

    def _divergence(self, number: int, logits: Tensor) -> Tensor:
        """The mean KL divergence of one batch's softmax from the float network's."""
        axis = class_axis(logits)
        if axis is None:
            message = "the network answers no scores of classes, and kl compares them"
            raise error("E304", message, "out_mse and loss_inc do without")
        ours, theirs = (
            scores.double().log_softmax(axis) for scores in (logits, self.logits[number])
        )
        divergence = F.kl_div(ours, theirs, reduction="none", log_target=True)
        return divergence.sum(axis).mean().clamp(min=0)

    def _increase(self, number: int, logits: Tensor) -> Tensor:
        """How much the mean loss of one batch grows."""
        images, labels = self.subject.batches(BATCH)[number]
        after, before = (
            self.subject.loss(scores, images, labels).double() / len(labels)
            for scores in (logits, self.logits[number])
        )
        return after - before

    def _forward(self, images: Tensor, group: Group) -> tuple[Tensor, dict[int, Tensor]]:
        """Logits, and what each layer of the group puts out in all its calls."""
        listening = self.subject.outputs(self.module, group.layers)
        with torch.no_grad(), plain_kernels(), listening as calls:
            logits = self.subject.logits(images, self.module)
        return logits, {
            index: torch.cat([call.flatten() for call in calls[index]]) for index in group.layers
        }

    @contextmanager
    def _quantized(self, weights: Mapping[int, Tensor], act_bits: int | None) -> Iterator[None]:
        """While it lasts, the copy has these weights, by layer, and quantized inputs there."""
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
