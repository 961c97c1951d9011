"""What quantizing one group alone does to the network: a pass of all images per group and choice.

Quantized are the group's weights and, where the menu chooses activation bits, its layers' inputs.
`kl`, `loss_inc` and `loss_shift` belong to the group as a whole: its main layer has them, and the
others 0, so that they add up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emqlang.grammar.diagnostics import error
from emqlang.quant.bits.menu import Choice
from emqlang.quant.networks.answers import answer
from emqlang.quant.networks.facts import Group
from emqlang.quant.networks.layers import Layer
from emqlang.quant.networks.plain import copied
from emqlang.quant.networks.tracing import plain_kernels
from emqlang.quant.ptq.sites import attach
from emqlang.quant.statistics.image_pass import no
from emqlang.quant.statistics.quantization_errors import (
    BATCH,
    InputGrids,
    find_inputs,
    quantized_weight,
)
from emqlang.quant.statistics.subject import Shown, Subject
from emqlang.quant.statistics.table import Measured

NAMES: Final = ("out_mse", "kl", "loss_inc", "loss_shift")


def measure(subject: Subject, names: frozenset[str]) -> dict[str, Measured]:
    """`out_mse`, `kl`, `loss_inc` and `loss_shift`.

    out_mse     squared error of a layer's own output over its squared norm
    kl          mean KL divergence of the softmax from the float network's; of answers without
                classes their squared error over their squared norm
    loss_inc    increase of the mean loss
    loss_shift  change of the log-likelihood of each image's labels, float32
    """
    trials = _Trials(subject, names)
    groups = subject.network.collection.groups
    for number, group in enumerate(groups, 1):
        for row, choice in enumerate(subject.menu):
            trials.run(group, row, choice)
        subject.progress("perturbation", number, len(groups))
    return {
        name: Measured(trials.result(name), unmeasured=trials.unmeasured(name)) for name in names
    }


class _Trials:
    """Trials quantize one group of a copy of the network at a time; `results` are (choices, L)."""

    def __init__(self, subject: Subject, names: frozenset[str]) -> None:
        self.subject, self.names = subject, names
        self.module = copied(subject.module).requires_grad_(False)
        shape = len(subject.menu), len(subject.layers)
        self.results = {name: subject.zeros(*shape) for name in NAMES}
        if "loss_shift" in names:
            images = (len(subject.images), subject.options.label_draws or 1)
            self.results["loss_shift"] = torch.zeros(*shape, *images, device=subject.device)
        self.ran, self.alike = [False] * shape[1], [True] * shape[1]

    def result(self, name: str) -> Tensor:
        """The values of a choice as one flat row."""
        return self.results[name].flatten(1)

    @cached_property
    def inputs(self) -> InputGrids:
        return find_inputs(self.subject)

    @cached_property
    def shown(self) -> list[tuple[Shown, Any]]:
        """All batches, each with what the float network returns for it."""
        single = "loss_shift" in self.names and callable(self.subject.options.loss)
        with torch.no_grad(), plain_kernels():
            return [
                (shown, self.subject.answer(shown.batch))
                for shown in self.subject.batches(1 if single else BATCH)
            ]

    def run(self, group: Group, row: int, choice: Choice) -> None:
        """Quantize one group by one choice and note what that does."""
        subject, bits = self.subject, choice.weight_bits
        own = {index: _Errors() for index in group.layers}
        answers, whole = _Errors(), len(subject.images)
        weights = {index: quantized_weight(subject, index, bits) for index in group.layers}
        for shown, before in self.shown:
            float_calls = self._forward(shown, group)[1] if "out_mse" in self.names else {}
            with self._quantized(weights, choice.act_bits):
                after, calls = self._forward(shown, group)
            for index, found in calls.items():
                self.ran[index] |= any(call.numel() for call in found)
            for index, wanted in float_calls.items():
                own[index].add(calls[index], wanted)
            if "kl" in self.names:
                divergence = self._divergence(shown, before, after, answers)
                self.results["kl"][row, group.main] += shown.rows / whole * divergence
            if "loss_inc" in self.names:
                increase = self._increase(shown, before, after)
                self.results["loss_inc"][row, group.main] += shown.rows / whole * increase
            if "loss_shift" in self.names:
                shift = self._shift(shown, before, after)
                self.results["loss_shift"][row, group.main, shown.start : shown.stop] = shift
        self.results["kl"][row, group.main] += answers.ratio
        for index in group.layers:
            self.results["out_mse"][row, index] = own[index].ratio
            self.alike[index] &= own[index].alike

    def unmeasured(self, name: str) -> dict[int, str]:
        """Layers that a statistic says nothing of, and why."""
        groups, images = self.subject.network.collection.groups, len(self.subject.images)
        mains = {index: group.main for group in groups for index in group.layers}
        of = {index: index if name == "out_mse" else main for index, main in mains.items()}
        found = {index: no("data", images) for index, by in of.items() if not self.ran[by]}
        if name == "out_mse":
            other = "it is given other rows when it is quantized"
            found |= {index: other for index in mains if self.ran[index] and not self.alike[index]}
        return found

    def _divergence(
        self, shown: Shown, before: Any, after: Any, answers: _Errors
    ) -> Tensor | float:
        """The mean KL divergence of one batch's softmax from the float network's.

        An answer without classes adds to the errors of the answers instead.
        """
        wanted, found = answer(before, shown.rows), answer(after, shown.rows)
        if wanted.scores.shape != found.scores.shape:
            message = "the network returns other shapes when a layer is quantized"
            raise error("E304", f"{message}, and kl compares them", "loss_inc does without")
        if not wanted.has_classes:
            pairs = zip((found.scores, *found.others), (wanted.scores, *wanted.others), strict=True)
            for own, exact in pairs:
                answers.add([own], [exact])
            return 0.0
        ours, theirs = (scores.double().log_softmax(-1) for scores in (found.scores, wanted.scores))
        divergence = F.kl_div(ours, theirs, reduction="none", log_target=True)
        return divergence.sum(-1).mean().clamp(min=0)

    def _increase(self, shown: Shown, before: Any, after: Any) -> Tensor:
        """How much the mean loss of one batch grows."""
        with torch.no_grad():
            now, then = (
                self.subject.loss(outputs, shown).double() / shown.rows
                for outputs in (after, before)
            )
        return now - then

    def _shift(self, shown: Shown, before: Any, after: Any) -> Tensor:
        """(rows, draws): how much the log-likelihoods of one batch change."""
        with torch.no_grad():
            now, then = (self.subject.likelihoods(one, shown).double() for one in (after, before))
        return (now - then).float()

    def _forward(self, shown: Shown, group: Group) -> tuple[Any, dict[int, list[Tensor]]]:
        """What the network returns, and what each layer of the group puts out in its calls."""
        listening = self.subject.outputs(self.module, group.layers)
        with torch.no_grad(), plain_kernels(), listening as calls:
            outputs = self.subject.answer(shown.batch, self.module)
        return outputs, calls

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


class _Errors:
    """The squared error of some tensors over their squared norm."""

    def __init__(self) -> None:
        self.noise = self.energy = 0.0
        self.alike = True

    def add(self, found: Sequence[Tensor], wanted: Sequence[Tensor]) -> None:
        """Several more; those of other shapes are not compared."""
        if [part.shape for part in found] != [part.shape for part in wanted]:
            self.alike = False
            return
        if not wanted:
            return
        own, exact = (torch.cat([part.flatten() for part in parts]) for parts in (found, wanted))
        self.noise += float((own - exact).square().sum(dtype=torch.float64))
        self.energy += float(exact.square().sum(dtype=torch.float64))

    @property
    def ratio(self) -> float:
        if not self.noise:
            return 0.0
        return self.noise / self.energy if self.energy else math.inf
